"""Records through brokers that die: manytail, a real cluster, and a reader that knows nothing of either.

trial.py MANYTAIL kafka|nats DIRECTORY SECONDS RATE FILES

Writes RATE lines a second to FILES logs, which are rotated, for SECONDS, while nodes of the cluster and
manytail itself are killed. Then a consumer reads everything: each line has to be there once, whole, and in
order within its file. Prints what was done and found; exit 1 when anything is missing, repeated, changed
or out of order.
"""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BROKERS = os.path.join(HERE, "..", "..", "scripts", "brokers")
PATIENCE = 180
# What the last process counted of its output.
COUNTERS = [
    "manytail_output_commits_total",
    "manytail_output_recoveries_total",
    "manytail_output_resent_bytes_total",
    "manytail_output_refused_records_total",
]


def brokers(*arguments):
    return subprocess.run([BROKERS, *map(str, arguments)], check=True, capture_output=True, text=True).stdout.strip()


class Writer(threading.Thread):
    """Appends numbered lines to logs and rotates some of them by renaming."""

    def __init__(self, tree, rate, files, until):
        super().__init__()
        self.tree, self.rate, self.until = tree, rate, until
        self.random = random.Random(7)
        self.next = [0] * files
        self.rotations = 0

    def line(self, log, number):
        return f"log {log} line {number} {'x' * (number * 7 % 90)}"

    def append(self, log, count):
        path = os.path.join(self.tree, f"d{log % 20}", f"{log}.log")
        first = self.next[log]
        with open(path, "a") as file:
            file.write("".join(self.line(log, first + n) + "\n" for n in range(count)))
        self.next[log] += count
        return path

    def run(self):
        began, written = time.time(), 0
        while time.time() < self.until:
            due = int((time.time() - began) * self.rate) - written
            while due > 0:
                log = self.random.randrange(len(self.next))
                count = min(due, 10)
                path = self.append(log, count)
                written, due = written + count, due - count
                if self.random.randrange(200) == 0:
                    self.rotations += 1
                    os.rename(path, f"{path}.{self.rotations}")
            time.sleep(0.01)


class Manytail:
    """The process under test, started again whenever it was killed."""

    def __init__(self, program, settings, log):
        self.program, self.settings, self.log = program, settings, log
        self.kills = 0
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "run", "--config", self.settings], stdout=subprocess.DEVNULL, stderr=open(self.log, "a")
        )

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class Trouble(threading.Thread):
    """Kills nodes, and manytail, until it is told to stop."""

    def __init__(self, kind, directory, manytail, identity, until):
        super().__init__()
        self.kind, self.directory, self.manytail, self.until = kind, directory, manytail, until
        self.identity = identity
        self.random = random.Random(11)
        self.counts = {"leaders killed": 0, "coordinators killed": 0, "nodes frozen": 0, "clusters restarted": 0}

    def leader(self, what, partition=0):
        try:
            return int(brokers("leader", self.directory, what, partition))
        except (subprocess.CalledProcessError, ValueError):
            return self.random.randrange(1, 4)

    def down_and_up(self, node, count):
        brokers("kill", self.directory, node)
        self.counts[count] += 1
        if self.random.randrange(2):
            self.manytail.kill()
        time.sleep(self.random.uniform(1, 4))
        brokers("up", self.directory, node)

    def run(self):
        restart_at = time.time() + (self.until - time.time()) / 2
        freeze_at = time.time() + (self.until - time.time()) / 4
        while time.time() < self.until:
            for _ in range(self.random.randrange(1, 6)):
                time.sleep(self.random.uniform(0.05, 1.2))
                self.manytail.kill()
            if time.time() > restart_at:
                restart_at = self.until + 1
                for node in (1, 2, 3):
                    brokers("kill", self.directory, node)
                time.sleep(1)
                for node in (1, 2, 3):
                    brokers("up", self.directory, node)
                self.counts["clusters restarted"] += 1
            elif time.time() > freeze_at and self.kind == "kafka":
                freeze_at = self.until + 1
                node = self.leader("jobs")
                brokers("freeze", self.directory, node)
                self.counts["nodes frozen"] += 1
                # For longer than a transaction may take.
                time.sleep(14)
                brokers("thaw", self.directory, node)
            elif self.kind == "kafka" and self.random.randrange(2):
                self.down_and_up(self.leader("transactions:" + self.identity()), "coordinators killed")
            else:
                what = "jobs" if self.kind == "kafka" else "JOBS"
                self.down_and_up(self.leader(what, self.random.randrange(8)), "leaders killed")
            time.sleep(self.random.uniform(3, 7))


class Verdict:
    """What the consumer saw."""

    def __init__(self):
        self.seen = {}
        self.ends = {}
        self.records = self.repeated = self.changed = self.disordered = 0

    def take(self, value, writer):
        record = json.loads(value)
        self.records += 1
        words = record["line"].split(" ", 4)
        if len(words) < 4 or writer.line(int(words[1]), int(words[3])) != record["line"]:
            self.changed += 1
            return
        line = (int(words[1]), int(words[3]))
        self.repeated += line in self.seen
        self.seen[line] = True
        # Offsets of one file follow each other without a gap.
        file, offset = record["file"], record["offset"]
        self.disordered += self.ends.get(file, 0) != offset
        self.ends[file] = offset + len(record["line"].encode()) + 1

    def missing(self, writer):
        return sum(writer.next) - len(self.seen)


def consume_kafka(addresses, writer, verdict, until):
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({
        "bootstrap.servers": addresses, "group.id": f"judge-{os.getpid()}", "auto.offset.reset": "earliest",
        "isolation.level": "read_committed", "enable.auto.commit": False, "log_level": 2,
    })
    consumer.assign([TopicPartition("jobs", partition, 0) for partition in range(8)])
    while verdict.missing(writer) > 0 and time.time() < until:
        for message in consumer.consume(5000, 1.0):
            if not message.error():
                verdict.take(message.value(), writer)
    # Nothing more may come.
    for message in consumer.consume(5000, 12.0):
        if not message.error():
            verdict.take(message.value(), writer)
    consumer.close()


def consume_nats(addresses, writer, verdict, until):
    import asyncio

    import nats
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    async def read():
        servers = ["nats://" + address for address in addresses.split(",")]
        async def ignore(_error):
            pass

        client = await nats.connect(servers=servers, error_cb=ignore)
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
        while True:
            try:
                jetstream = client.jetstream(timeout=10)
                reader = await jetstream.pull_subscribe("jobs.>", stream="JOBS", config=config)
                break
            except (nats.errors.Error, asyncio.TimeoutError):
                # The nodes may still elect a leader.
                if time.time() > until:
                    raise
                await asyncio.sleep(0.5)
        quiet = 0
        while quiet < 5 and time.time() < until:
            try:
                messages = await reader.fetch(1000, timeout=1)
            except (nats.errors.Error, asyncio.TimeoutError):
                messages = []
            for message in messages:
                verdict.take(message.data, writer)
            quiet = 0 if messages or verdict.missing(writer) > 0 else quiet + 1
        await client.close()

    asyncio.run(read())


def make_topic(addresses):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": addresses})
    for outcome in admin.create_topics([NewTopic("jobs", 8, 3)]).values():
        outcome.result(30)


def settings_of(kind, directory, tree, addresses):
    path = os.path.join(directory, "manytail.toml")
    with open(path, "w") as file:
        file.write(f'output = "{"kafka:jobs" if kind == "kafka" else "nats:jobs.node7"}"\n')
        file.write(f'paths = ["{tree}"]\nstate_dir = "{directory}/state"\ncommit_interval = "200ms"\n')
        file.write(f'metrics = ["textfile:{directory}/manytail.prom"]\n')
        if kind == "kafka":
            file.write(f'[kafka]\nbrokers = {json.dumps(addresses.split(","))}\n')
        else:
            servers = json.dumps(["nats://" + address for address in addresses.split(",")])
            file.write(f'[nats]\nservers = {servers}\nstream = "JOBS"\ncreate = true\n')
    return path


def counters_of(directory):
    with open(os.path.join(directory, "manytail.prom")) as file:
        values = dict(line.rsplit(" ", 1) for line in file if not line.startswith("#"))
    return {name: float(values[name]) for name in COUNTERS}


def identity_of(directory):
    """The name under which the state directory commits, as it is in the journal."""
    for name in os.listdir(os.path.join(directory, "state")):
        if name.startswith("journal.") and name.split(".")[1].isdigit():
            with open(os.path.join(directory, "state", name), "rb") as file:
                content = file.read()
            at = content.find(b"manytail-", 32)
            if at >= 2:
                return content[at : at + int.from_bytes(content[at - 2 : at], "little")].decode(errors="replace")
    return ""


def main():
    program, kind, directory = sys.argv[1:4]
    seconds, rate, files = map(int, sys.argv[4:7])
    cluster, tree = os.path.join(directory, "cluster"), os.path.join(directory, "tree")
    for number in range(20):
        os.makedirs(os.path.join(tree, f"d{number}"))
    addresses = brokers("start", kind, cluster).splitlines()[-1]
    manytail = None
    try:
        if kind == "kafka":
            make_topic(addresses)
        settings = settings_of(kind, directory, tree, addresses)
        until = time.time() + seconds
        manytail = Manytail(program, settings, os.path.join(directory, "manytail.log"))
        writer = Writer(tree, rate, files, until)
        trouble = Trouble(kind, cluster, manytail, lambda: identity_of(directory), until - 5)
        writer.start()
        trouble.start()
        writer.join()
        trouble.join()
        # After the last kill, so that the last process has something to commit.
        for log in range(files):
            writer.append(log, 1)
        verdict = Verdict()
        consume = consume_kafka if kind == "kafka" else consume_nats
        consume(addresses, writer, verdict, time.time() + PATIENCE)
        code = manytail.stop()
    finally:
        if manytail and manytail.process.poll() is None:
            manytail.process.kill()
        brokers("stop", cluster)
    missing = verdict.missing(writer)
    counters = counters_of(directory)
    is_counted = (counters["manytail_output_commits_total"] > 0) == (kind == "kafka")
    troubles = ", ".join(f"{count} {what}" for what, count in trouble.counts.items() if count)
    print(f"{kind}: {sum(writer.next)} lines of {files} files, {writer.rotations} rotations; manytail killed {manytail.kills} times, {troubles}")
    print(f"{kind}: {verdict.records} records read: {missing} missing, {verdict.repeated} repeated, {verdict.changed} changed, "
          f"{verdict.disordered} out of order; exit {code}")
    print(f"{kind}: the last process counted {counters}")
    if missing or verdict.repeated or verdict.changed or verdict.disordered or code or not is_counted:
        with open(os.path.join(directory, "manytail.log")) as log:
            sys.stderr.writelines(log.readlines()[-40:])
        sys.exit(1)


main()
