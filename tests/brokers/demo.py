"""Two nodes, one cluster, and everything is killed: what scripts/demo-kafka shows.

demo.py MANYTAIL DIRECTORY FILES RATE

Two trees of FILES logs each stand for two nodes; a manytail of its own follows each. RATE lines a second go to each
tree, and some logs are rotated, while manytails and brokers are killed. Then a consumer that knows nothing of it reads
the topic: each line has to be there once, whole, and in order within its file. Says what it does; exit 1 when anything
is wrong.
"""
import json
import os
import random
import subprocess
import sys
import time

from cluster import brokers
from logs import Writer
from process import PATIENCE, Manytail, identity_of, write_settings
from reading import Verdict, consume

BEGAN = time.time()


def say(text):
    print(f"{time.time() - BEGAN:4.0f} s  {text}", flush=True)


class Node:
    """A host with logs, a writer and a manytail."""

    def __init__(self, name, directory, program, addresses, files, rate):
        self.name, self.program = name, program
        self.directory = os.path.join(directory, name)
        tree = os.path.join(self.directory, "tree")
        for number in range(20):
            os.makedirs(os.path.join(tree, f"d{number}"))
        self.settings = write_settings(self.directory, "kafka", addresses, tree, host=name)
        # Until it is told to stop.
        self.writer = Writer(tree, rate, files, float("inf"))
        self.writer.random = random.Random(name)
        for log in range(files):
            self.writer.append(log, 1)
        self.verdict = Verdict()
        self.manytail = None

    def start(self):
        self.manytail = Manytail(self.program, self.settings, os.path.join(self.directory, "manytail.log"))


class Judge:
    """What the consumer saw of each node."""

    def __init__(self, nodes):
        self.nodes = {node.name: node for node in nodes}

    def take(self, value, _):
        node = self.nodes[json.loads(value)["host"]]
        node.verdict.take(value, node.writer)

    def missing(self, _):
        return sum(node.verdict.missing(node.writer) for node in self.nodes.values())


class Kills:
    """What is done to the nodes and to the cluster."""

    def __init__(self, cluster, nodes):
        self.cluster, self.nodes = cluster, nodes
        self.brokers = 0

    def manytails(self, times):
        say(f"kill -9 of both manytails, {times} times; each starts again at once")
        for _ in range(times):
            for node in random.sample(self.nodes, 2):
                time.sleep(random.uniform(0.1, 0.8))
                node.manytail.kill()

    def broker(self, what, name, with_manytail=None):
        try:
            number = int(brokers("leader", self.cluster, what, 0))
        except subprocess.CalledProcessError:
            # An election is under way.
            number = random.randrange(1, 4)
        also = f", and of the manytail of {with_manytail.name} in the same moment" if with_manytail else ""
        say(f"kill -9 of broker {number}, {name}{also}")
        brokers("kill", self.cluster, number)
        if with_manytail:
            with_manytail.manytail.kill()
        self.brokers += 1
        time.sleep(3)
        brokers("up", self.cluster, number)
        time.sleep(6)

    def all_brokers(self):
        say("kill -9 of all three brokers; they start again after two seconds")
        for number in (1, 2, 3):
            brokers("kill", self.cluster, number)
        time.sleep(2)
        for number in (1, 2, 3):
            brokers("up", self.cluster, number)
        self.brokers += 3
        time.sleep(15)

    def everything(self):
        first, second = self.nodes
        self.manytails(5)
        self.broker("jobs", "which leads a partition of the topic")
        self.broker("jobs", "which leads a partition of the topic", first)
        for node, killed in ((first, None), (second, second)):
            what = f"transactions:{identity_of(node.directory)}"
            self.broker(what, f"which decides about the transactions of {node.name}", killed)
        self.all_brokers()
        self.manytails(5)


def run(program, directory, files, rate, nodes):
    cluster = os.path.join(directory, "cluster")
    say("starting three nodes of Apache Kafka")
    addresses = brokers("start", "kafka", cluster).splitlines()[-1]
    brokers("topic", cluster, "jobs")
    say(f"making {2 * files} logs: a tree for each of two nodes")
    nodes += [Node(name, directory, program, addresses, files, rate) for name in ("node1", "node2")]
    for node in nodes:
        say(f"{node.name}: manytail run --config {node.settings}")
        node.start()
    say(f"{rate} lines a second to each tree; now and then a log is rotated")
    for node in nodes:
        node.writer.start()
    time.sleep(5)
    kills = Kills(cluster, nodes)
    try:
        kills.everything()
    finally:
        for node in nodes:
            node.writer.until = 0
            node.writer.join()
    say("no more kills, no more lines: a consumer of committed records reads the topic from its beginning")
    consume("kafka", addresses, None, Judge(nodes), time.time() + PATIENCE)
    codes = [node.manytail.stop() for node in nodes]
    print(f"killed: manytails {sum(node.manytail.kills for node in nodes)} times, brokers {kills.brokers} times")
    for node in nodes:
        writer = node.writer
        print(
            f"{node.name}: {sum(writer.next)} lines of {files} files, {writer.rotations} rotations; "
            f"{node.verdict.words(writer)}"
        )
    return codes == [0, 0] and all(node.verdict.is_clean(node.writer) for node in nodes)


def main():
    program, directory = sys.argv[1:3]
    files, rate = map(int, sys.argv[3:5])
    nodes = []
    try:
        is_right = run(program, directory, files, rate, nodes)
    finally:
        for node in nodes:
            if node.manytail and node.manytail.process.poll() is None:
                node.manytail.process.kill()
        brokers("stop", os.path.join(directory, "cluster"))
    say("each line is there once, whole and in order" if is_right else "WRONG")
    return 0 if is_right else 1


sys.exit(main())
