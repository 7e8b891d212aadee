"""Two manytails on one cluster, and state directories that are copied, restored from a backup, and lost.

copies.py MANYTAIL kafka|nats DIRECTORY

A consumer that knows nothing of manytail reads everything after each part: a line may be missing never, and may come
again only where that is promised. Prints what was found; exit 1 when anything is other than promised.
"""
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import time

from cluster import Cluster, wait_until
from logs import Writer
from process import Manytail, identity_of, write_settings
from reading import consume

FILES = 20
AHEAD = "ahead of this state directory"
# What a process says to whom another one with a copy came first.
TWIN = {"kafka": AHEAD, "nats": "another manytail with a copy of this state directory"}
# How long a part may take.
PATIENCE = 90


class Host:
    """A tree, and a manytail that follows it."""

    def __init__(self, name, program, kind, addresses, directory):
        self.name, self.program, self.kind, self.addresses = name, program, kind, addresses
        self.tree = os.path.join(directory, name, "tree")
        for number in range(FILES):
            os.makedirs(os.path.join(self.tree, f"d{number}"))
        self.writer = Writer(self.tree, 0, FILES, 0)
        self.random = random.Random(name)
        self.move(os.path.join(directory, name))
        self.manytail = None
        self.all = []

    def move(self, directory):
        """The state is in this directory."""
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.settings = write_settings(directory, self.kind, self.addresses, self.tree, host=self.name)
        self.log = os.path.join(directory, "manytail.log")
        self.state = os.path.join(directory, "state")

    def start(self):
        self.manytail = Manytail(self.program, self.settings, self.log)
        self.all.append(self.manytail)

    def stop(self):
        code = self.manytail.stop()
        if code:
            raise AssertionError(f"{self.name} ends with {code}")

    def write(self, count):
        for _ in range(count):
            self.writer.append(self.random.randrange(FILES), 1)

    def lines(self):
        """All that were written: log and number of each."""
        return {(log, number) for log, count in enumerate(self.writer.next) for number in range(count)}


class Judge:
    """How often each line of each host was read."""

    def __init__(self, hosts):
        self.hosts = {host.name: host for host in hosts}
        self.times = {name: collections.Counter() for name in self.hosts}
        self.records = 0

    def take(self, value, _writer, _where=""):
        self.records += 1
        record = json.loads(value)
        words = record["line"].split(" ", 4)
        log, number = int(words[1]), int(words[3])
        if self.hosts[record["host"]].writer.line(log, number) != record["line"]:
            raise AssertionError(f"a changed line: {record}")
        self.times[record["host"]][log, number] += 1

    def missing(self, _):
        return sum(len(host.lines() - set(self.times[name])) for name, host in self.hosts.items())

    def repeated(self, name):
        return {line for line, times in self.times[name].items() if times > 1}


class Trial:
    def __init__(self, program, kind, directory, addresses):
        self.kind, self.addresses = kind, addresses
        self.hosts = [Host(name, program, kind, addresses, directory) for name in ("node7", "node8")]

    def judge(self, what, allowed=frozenset()):
        """Of the first host these lines, and only these, may come again."""
        judge = Judge(self.hosts)
        consume(self.kind, self.addresses, None, judge, time.time() + PATIENCE)
        missing = judge.missing(None)
        repeated = {host.name: judge.repeated(host.name) for host in self.hosts}
        wrong = len(repeated["node7"] - allowed) + len(repeated["node8"])
        print(f"{self.kind}: {what}: {judge.records} records read: {missing} missing, "
              f"{len(repeated['node7'])} repeated, {wrong} of them against the promise", flush=True)
        if missing or wrong:
            raise AssertionError(what)
        return repeated["node7"]

    def two_hosts(self):
        for host in self.hosts:
            host.start()
        for _ in range(30):
            for host in self.hosts:
                host.write(40)
            time.sleep(0.1)
            if self.hosts[0].random.randrange(3) == 0:
                self.hosts[0].random.choice(self.hosts).manytail.kill()
        self.judge("two hosts, killed now and then")

    def copied(self):
        """Both the directory and its copy are used at once: one of the two processes says so, and ends (Kafka), or waits
        until it is ended."""
        host = self.hosts[0]
        host.stop()
        home, twin = host.directory, host.directory + "-copy"
        shutil.copytree(host.state, os.path.join(twin, "state"))
        host.start()
        first = (host.manytail, home, host.log)
        host.move(twin)
        host.start()
        both = [first, (host.manytail, twin, host.log)]

        def has_one_said():
            host.write(5)
            return any(has_said(log, TWIN[self.kind]) for *_, log in both)

        wait_until("one of two processes with one state directory says so", has_one_said, PATIENCE)
        (refused, _, log), = [one for one in both if has_said(one[2], TWIN[self.kind])]
        if self.kind == "kafka":
            expect_refusal(refused.process.wait(PATIENCE), log)
        refused.process.kill()
        (host.manytail, directory, _), = [one for one in both if one[0] is not refused]
        host.move(directory)
        host.write(50)
        self.judge("a copied state directory is used, too, by a process that is refused")

    def restored(self):
        host = self.hosts[0]
        host.stop()
        backup = host.state + ".backup"
        shutil.copytree(host.state, backup)
        before = host.lines()
        host.start()
        host.write(300)
        self.judge("before the backup is restored")
        host.stop()
        shutil.rmtree(host.state)
        shutil.move(backup, host.state)
        host.start()
        if self.kind == "kafka":
            expect_refusal(host.manytail.process.wait(PATIENCE), host.log)
            call = [host.program, "offsets", "settle", "--state-dir", host.state]
            said = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(f"kafka: manytail offsets settle: {said.strip()}")
            allowed = host.lines() - before
            host.start()
        else:
            # The stream tells what the backup does not know.
            allowed = frozenset()
        host.write(50)
        again = self.judge("restored from a backup", allowed)
        if again != allowed:
            raise AssertionError(f"of {len(allowed)} lines since the backup {len(again)} came again")

    def lost(self):
        host = self.hosts[0]
        host.stop()
        name = identity_of(host.directory)
        shutil.rmtree(host.state)
        before = host.lines()
        host.start()
        host.write(50)
        again = self.judge("a lost state directory", before)
        if again != before:
            raise AssertionError(f"of {len(before)} lines {len(again)} came again")
        if identity_of(host.directory) in ("", name):
            raise AssertionError("a new directory has the name of the lost one")
        for host in self.hosts:
            host.stop()


def has_said(log, sentence):
    with open(log) as file:
        return any(sentence in line for line in file)


def expect_refusal(code, log):
    if code != 1 or not has_said(log, AHEAD):
        raise AssertionError(f"exit code {code}, and the log does not say why")


def main():
    program, kind, directory = sys.argv[1:4]
    os.makedirs(directory)
    cluster = Cluster(kind, os.path.join(directory, "cluster"))
    trial = None
    try:
        trial = Trial(program, kind, directory, cluster.start())
        trial.two_hosts()
        trial.copied()
        trial.restored()
        trial.lost()
    except BaseException:
        for host in trial.hosts if trial else []:
            with open(host.log) as log:
                sys.stderr.writelines(log.readlines()[-20:])
        raise
    finally:
        for manytail in [manytail for host in (trial.hosts if trial else []) for manytail in host.all]:
            if manytail.process.poll() is None:
                manytail.process.kill()
        cluster.stop()


main()
