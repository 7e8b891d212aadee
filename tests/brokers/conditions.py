"""What a site does wrong, one thing after the other: manytail has to say what, where and what to do, and to go on.

conditions.py MANYTAIL kafka|nats DIRECTORY

Starts a cluster with TLS, passwords and rights, and manytail with everything wrong that can be. For each condition
`check --connect` has to tell it, the log and `manytail status` have to name it, and when it is mended records have to
flow. At the end each line has to be there once. No secret may be in anything that was printed. Prints each sentence;
exit 1 at the first that is missing. Kafka needs root: the disks that become full are small tmpfs.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

from cluster import brokers
from logs import Writer
from process import Manytail, write_settings
from reading import Verdict, consume

# The longest that a sentence, or an end of it, may take, in seconds.
PATIENCE = 60
SECRETS = ["manytail-secret", "wrong-secret", "admin-secret"]
FILES = 20
DISK_BYTES = 512 << 20


class Lines(Writer):
    """Some lines are long."""

    def line(self, log, number):
        return super().line(log, number) + ("y" * 20000 if number % 10 == 7 else "")

    def some(self, count=3):
        for log in range(len(self.next)):
            self.append(log, count)


class Certificates:
    """An authority, and a certificate of the servers that is out of date or valid."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.openssl(
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=test-authority",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        )
        self.openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        )
        with open(self.path("names"), "w") as file:
            file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")

    def path(self, name):
        return os.path.join(self.directory, name)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def sign(self, days):
        self.openssl(
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            str(days),
            "-extfile",
            "names",
            "-out",
            "server.crt",
        )
        with open(self.path("server.pem"), "w") as pem:
            for name in ("server.key", "server.crt", "ca.pem"):
                with open(self.path(name)) as part:
                    pem.write(part.read())


class Site:
    """The daemon, and everything that it says."""

    def __init__(self, program, kind, directory, addresses, table):
        self.program, self.kind, self.directory, self.addresses = program, kind, directory, addresses
        self.socket = os.path.join(directory, "control.sock")
        self.log = os.path.join(directory, "manytail.log")
        self.password = os.path.join(directory, "password")
        self.tree = os.path.join(directory, "tree")
        for number in range(20):
            os.makedirs(os.path.join(self.tree, f"d{number}"))
        self.writer = Lines(self.tree, 0, FILES, 0)
        self.table = [
            *table,
            'user = "manytail"',
            f'password_file = "{self.password}"',
            f'ca_file = "{directory}/cluster/ca.pem"',
        ]
        self.printed = []
        self.manytail = None
        self.errors = ""

    def set_password(self, password):
        with open(self.password, "w") as file:
            file.write(password + "\n")

    def start(self, addresses, change=lambda text: text):
        if self.manytail:
            self.stop()
        self.settings = write_settings(
            self.directory, self.kind, addresses, self.tree, [f'control_socket = "{self.socket}"'], self.table
        )
        with open(self.settings) as file:
            text = change(file.read())
        with open(self.settings, "w") as file:
            file.write(text)
        self.before = self.log_size()
        self.manytail = Manytail(self.program, self.settings, self.log)

    def stop(self):
        code = self.manytail.stop()
        self.manytail = None
        return code

    def run(self, *arguments):
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=PATIENCE)
        self.printed.append(done.stdout + done.stderr)
        self.errors = done.stderr
        return done.returncode, done.stdout + done.stderr

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def logged(self, since):
        with open(self.log) as file:
            file.seek(since)
            return file.read()

    def status(self):
        return self.run("status", "--control-socket", self.socket)[1]

    def until(self, what, is_so):
        deadline = time.time() + PATIENCE
        while not is_so():
            if time.time() > deadline:
                said = f"{self.logged(self.before)[-3000:]}\n{self.status()}\n{self.errors}"
                raise SystemExit(f"{self.kind}: {what}: not within {PATIENCE} s\n{said}")
            time.sleep(0.1)

    def condition(self, name, words, mend, check=1):
        """`check`: the exit code of `check --connect`."""
        says = lambda text: all(word in text for word in words)

        # What was mended last may take a moment to be so at every node.
        def is_told():
            self.checked = self.run("check", "--connect", "--config", self.settings)
            return self.checked[0] == check and says(self.checked[1])

        self.until(f"{name} in check --connect", is_told)
        self.told(name, words)
        mend()

    def told(self, name, words):
        began = time.time()
        says = lambda text: all(word in text for word in words)
        self.until(f"{name} in status", lambda: says(self.status()))
        self.until(f"{name} in the log", lambda: any(says(line) for line in self.logged(self.before).splitlines()))
        sentence = next(line for line in self.status().splitlines() if says(line))
        print(f"{self.kind}: {name} ({time.time() - began:.1f} s): {sentence.strip()}", flush=True)
        self.before = self.log_size()

    def flows(self):
        """What was written is committed, and nothing is wrong."""

        def is_well():
            status = json.loads(self.run("status", "--format", "json", "--control-socket", self.socket)[1])
            output = status["status"]["output"]
            return (
                not output.get("failure")
                and output["unacknowledged_bytes"] == 0
                and status["status"]["backlog"]["files"] == 0
            )

        self.until("records flow", is_well)

    def metrics(self):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(self.socket)
            asked.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: asked.recv(1 << 16), b"")).decode()
        self.printed.append(text)
        lines = [line for line in text.splitlines() if line.startswith("manytail_")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def until_metric(self, name, is_right):
        self.until(f"{name}", lambda: is_right(self.metrics()[name]))

    def check_secrets(self):
        printed = "".join(self.printed) + self.logged(0)
        for secret in SECRETS:
            if secret in printed:
                raise SystemExit(f"{self.kind}: the secret {secret} was printed")


class Kafka:
    """Three nodes, asked and changed through their own listener, which lets everybody in."""

    # A record that is larger than a batch is known at once to be too large by itself.
    table = ['security = "sasl_tls"', 'sasl = "SCRAM-SHA-512"', 'properties = { "batch.size" = "10000" }']

    def __init__(self, program, directory):
        cluster = os.path.join(directory, "cluster")
        self.cluster, self.certificates = cluster, Certificates(cluster)
        self.certificates.sign(-1)
        for node in (1, 2, 3):
            os.makedirs(f"{cluster}/data{node}")
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "manytail", f"{cluster}/data{node}"], check=True
            )
        os.environ["KAFKA_SECURITY"] = "sasl_ssl"
        self.addresses = brokers("start", "kafka", cluster).splitlines()[-1]
        first = int(self.addresses.split(",")[0].split(":")[1]) - 1
        self.inner = ",".join(f"127.0.0.1:{first + 6 + node}" for node in (1, 2, 3))
        from confluent_kafka.admin import AdminClient

        self.admin = AdminClient({"bootstrap.servers": self.inner})
        self.site = Site(program, "kafka", directory, self.addresses, self.table)

    def set(self, kind, name, values):
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        for outcome in self.admin.incremental_alter_configs(
            [ConfigResource(kind, name, incremental_configs=entries)]
        ).values():
            outcome.result(30)

    def renew(self):
        from confluent_kafka.admin import ResourceType

        self.certificates.sign(2)
        for node in (1, 2, 3):
            self.set(
                ResourceType.BROKER,
                str(node),
                {"listener.name.client.ssl.keystore.location": f"{self.cluster}/server.pem"},
            )

    def allow(self, kind, name, *operations):
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        pattern = ResourcePatternType.PREFIXED if name.endswith("-") else ResourcePatternType.LITERAL
        bindings = [
            AclBinding(
                ResourceType[kind],
                name,
                pattern,
                "User:manytail",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )
            for operation in operations
        ]
        for outcome in self.admin.create_acls(bindings).values():
            outcome.result(30)

    def make_topic(self):
        from confluent_kafka.admin import NewTopic

        for outcome in self.admin.create_topics([NewTopic("jobs", 8, 3)]).values():
            outcome.result(30)

    def limit(self, bytes):
        from confluent_kafka.admin import ResourceType

        self.set(ResourceType.TOPIC, "jobs", {"max.message.bytes": str(bytes)})

    def need_replicas(self, count):
        from confluent_kafka.admin import ResourceType

        self.set(ResourceType.TOPIC, "jobs", {"min.insync.replicas": str(count)})

    def quota(self, *change):
        from cluster import BROKERS

        jars = os.environ.get("BROKERS_CACHE") or os.path.join(os.path.dirname(BROKERS), "..", "target", "brokers")
        subprocess.run(
            [
                "java",
                "-cp",
                f"{jars}/kafka/*",
                "kafka.admin.ConfigCommand",
                "--bootstrap-server",
                self.inner,
                "--alter",
                change[0],
                change[1],
                "--entity-type",
                "users",
                "--entity-name",
                "manytail",
            ],
            check=True,
            capture_output=True,
        )

    def fill(self, node):
        # Without a buffer: what it still held would be written, and refused, once more at the end.
        with open(f"{self.cluster}/data{node}/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self):
        os.remove(f"{self.cluster}/data1/filler")
        if self.is_up(1):
            brokers("kill", self.cluster, 1)
        brokers("up", self.cluster, 1)

    def is_up(self, node):
        with open(f"{self.cluster}/n{node}.pid") as file:
            try:
                os.kill(int(file.read()), 0)
                return True
            except ProcessLookupError:
                return False

    def run(self):
        site = self.site
        site.set_password("wrong-secret")
        site.writer.some()
        site.start("no-such-host.invalid:9092")
        site.condition(
            "name that does not resolve", ["no-such-host.invalid", "resolve"], lambda: site.start(self.addresses)
        )
        site.condition("expired certificate", ["TLS fails", "certificate"], self.renew)
        site.condition(
            "wrong password",
            ["user manytail is not accepted", "password_file"],
            lambda: site.set_password("manytail-secret"),
        )
        site.condition(
            "transactional id",
            ["user manytail may not use the transactional id manytail-", "Write and Describe"],
            lambda: self.allow("TRANSACTIONAL_ID", "manytail-", "WRITE", "DESCRIBE"),
        )
        site.condition(
            "rights on the topic",
            ["user manytail may not write to topic jobs", "Write and Describe"],
            lambda: self.allow("TOPIC", "jobs", "WRITE", "DESCRIBE", "READ", "DESCRIBE_CONFIGS"),
        )
        site.condition("topic missing", ["topic jobs does not exist", "create it"], self.make_topic)
        site.condition(
            "rights on the group",
            ["user manytail may not commit as group manytail-", "Read on it"],
            lambda: self.allow("GROUP", "manytail-", "READ"),
        )
        site.flows()
        site.until_metric("manytail_output_commit_seconds_count", lambda count: count > 0)
        site.until_metric("manytail_output_commit_seconds_sum", lambda sum: sum > 0)
        self.limit(10000)
        site.writer.some(10)
        site.condition("record too large", ["topic jobs", "max.message.bytes"], lambda: self.limit(1048588), check=0)
        site.flows()
        self.quota("--add-config", "producer_byte_rate=20000")
        site.writer.some(40)
        site.told("quota", ["hold back answers by", "a quota of user manytail", "producer_byte_rate"])
        self.quota("--delete-config", "producer_byte_rate")
        site.flows()
        # A node that cannot write ends itself, and the others may not go on without it.
        self.need_replicas(3)
        self.fill(1)
        site.writer.some(20)
        site.until_metric("manytail_output_in_flight_records", lambda count: count > 0)
        site.condition("disk full", ["topic jobs", "min.insync.replicas"], self.make_room)
        site.flows()
        site.until_metric("manytail_output_in_flight_records", lambda count: count == 0)


class Nats:
    """Three servers, which let in without a password whoever comes without one, as administrator."""

    table = ["tls = true"]
    files = ("server.crt", "server.key")

    def __init__(self, program, directory):
        cluster = os.path.join(directory, "cluster")
        self.cluster, self.certificates = cluster, Certificates(cluster)
        self.certificates.sign(-1)
        self.payload, self.may_publish = 1 << 20, False
        self.configure()
        self.addresses = brokers("start", "nats", cluster).splitlines()[-1]
        self.inner = self.addresses
        self.site = Site(program, "nats", directory, self.addresses, self.table)

    def configure(self):
        deny = "" if self.may_publish else ', permissions: {publish: {deny: "jobs.>"}}'
        with open(f"{self.cluster}/more.conf", "w") as file:
            file.write(
                f"max_payload: {self.payload}\nallow_non_tls: true\nno_auth_user: admin\n"
                f'tls {{ cert_file: "{self.cluster}/server.crt", key_file: "{self.cluster}/server.key" }}\n'
                "authorization { users = [\n  {user: admin, password: admin-secret}\n"
                f"  {{user: manytail, password: manytail-secret{deny}}}\n] }}\n"
            )

    def reload(self):
        for node in (1, 2, 3):
            with open(f"{self.cluster}/n{node}.pid") as file:
                os.kill(int(file.read()), signal.SIGHUP)

    def renew(self):
        self.certificates.sign(2)
        self.reload()

    def ask(self, subject, question):
        import asyncio

        import nats

        async def answer():
            client = await nats.connect(servers=["nats://" + address for address in self.addresses.split(",")])
            answer = await client.request(subject, json.dumps(question).encode(), timeout=10)
            await client.close()
            return json.loads(answer.data)

        answer = asyncio.run(answer())
        if "error" in answer:
            raise SystemExit(f"nats: {subject}: {answer['error']}")
        return answer

    def stream(self, **limits):
        config = {
            "name": "JOBS",
            "subjects": ["jobs.>"],
            "storage": "file",
            "num_replicas": 3,
            "retention": "limits",
            "discard": "new",
            "allow_atomic": True,
            "allow_direct": True,
            **limits,
        }
        self.ask(f"$JS.API.STREAM.{'UPDATE' if self.is_made else 'CREATE'}.JOBS", config)
        self.is_made = True

    is_made = False

    def let_publish(self):
        self.may_publish = True
        self.configure()
        self.reload()

    def run(self):
        site = self.site
        site.set_password("wrong-secret")
        site.writer.some()
        without = lambda text: text.replace("create = true", "create = false")
        site.start("no-such-host.invalid:4222", without)
        site.until("a socket", lambda: os.path.exists(site.socket))
        # Each start asks what the stream has.
        site.until_metric("manytail_output_in_doubt", lambda is_asked: is_asked == 1)
        site.condition(
            "name that does not resolve",
            ["no-such-host.invalid", "resolve"],
            lambda: site.start(self.addresses, without),
        )
        site.condition("expired certificate", ["certificate", "xpired"], self.renew)
        site.condition(
            "wrong password",
            ["does not let us in", "user manytail", "password_file"],
            lambda: site.set_password("manytail-secret"),
        )
        site.condition("stream missing", ["there is no stream JOBS", "nats stream add JOBS"], lambda: self.stream())
        site.condition("right to publish", ["jobs.node7", "ermission"], self.let_publish)
        site.flows()
        site.until_metric("manytail_output_in_doubt", lambda is_asked: is_asked == 0)
        site.until_metric("manytail_output_batches_total", lambda count: count > 0)
        self.stream(max_msg_size=10000)
        site.writer.some(10)
        site.condition("record too large", ["10000", "max_line_bytes", "max_msg_size"], lambda: self.stream(), check=0)
        site.flows()
        self.stream(max_bytes=1)
        site.writer.some(20)
        site.condition(
            "disk full", ["the stream refuses records", "raise", "max_bytes"], lambda: self.stream(max_bytes=-1)
        )
        site.flows()


def main():
    program, kind, directory = sys.argv[1:4]
    if kind == "kafka" and not os.environ.get("CONDITIONS_MOUNTS"):
        # Disks of its own, that nobody else sees and that go away with it.
        os.environ["CONDITIONS_MOUNTS"] = "own"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    began = time.time()
    cluster = (Kafka if kind == "kafka" else Nats)(program, directory)
    site = cluster.site
    try:
        cluster.run()
        verdict = Verdict()
        consume(kind, cluster.inner, site.writer, verdict, time.time() + PATIENCE)
        code = site.stop()
        site.check_secrets()
    finally:
        if site.manytail and site.manytail.process.poll() is None:
            site.manytail.process.kill()
        brokers("stop", os.path.join(directory, "cluster"))
    print(f"{kind}: {verdict.words(site.writer)}; exit {code}; {time.time() - began:.0f} s")
    if code or not verdict.is_clean(site.writer):
        sys.exit(1)


main()
