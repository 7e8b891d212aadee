"""Records through brokers that die: manytail, a real cluster, and a reader that knows nothing of either.

storm.py MANYTAIL kafka|nats DIRECTORY SECONDS RATE FILES

Writes RATE lines a second to FILES logs, which are rotated, for SECONDS or longer, while nodes of the cluster and
manytail itself are killed: leaders and coordinators, one after the other when all copies are in sync again; one node
is cut off from the others and from manytail; all nodes are killed at once. A consumer reads everything meanwhile: each
line has to be there once, whole, and in order within its file. Prints what was done and found; exit 1 when anything is
missing, repeated, changed or out of order, when fewer kills than planned were made, or when less than SHARE of RATE
was written. Kills of each sort: KILLS (10), of manytail: at least 5 times as many.
"""
import os
import random
import subprocess
import sys
import threading
import time

from cluster import HERE, NODES, PATIENCE as SYNC, Cluster, wait_until
from logs import Writer
from process import PATIENCE, Manytail, counters_of, identity_of, write_settings
from reading import Reader, Verdict

KILLS = int(os.environ.get("KILLS", 10))
# Longer than a transaction may take (10 s), and until all believe in the node's absence.
CUT = 14
# Records flow for so long between two kills of nodes.
FLOW = 2
# A node that is not in sync again after this long gets a rest: nothing is written.
WHOLE = 20
# The writer waits when so many seconds' lines are not read yet: so a busy machine writes less ...
AHEAD = 30
# ... but at least this part of RATE.
SHARE = 0.25
# The longest that lines are written.
LONGEST = 600


class Killer(threading.Thread):
    """Kills manytail at random moments until it is told to stop, unless it has to pause."""

    def __init__(self, manytail):
        super().__init__(daemon=True)
        self.manytail, self.random = manytail, random.Random(5)
        self.may_run, self.may_end = threading.Event(), threading.Event()
        self.may_run.set()
        self.error = None

    def run(self):
        try:
            while not self.may_end.wait(self.random.choice([0.05, 0.5, 2, 3, 4, 5])):
                self.may_run.wait()
                if not self.may_end.is_set():
                    self.manytail.kill()
        except Exception as error:
            self.error = error

    def stop(self):
        self.may_run.set()
        self.may_end.set()
        self.join()
        if self.error:
            raise self.error


class Network:
    """The proxy between everybody and the nodes, in a process of its own."""

    def __init__(self, first, target):
        program = os.path.join(HERE, "proxy.py")
        self.process = subprocess.Popen(
            [sys.executable, program, str(first), str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hear("ready")

    def hear(self, expected):
        said = self.process.stdout.readline().strip()
        if said != expected:
            raise RuntimeError(f"the proxy says {said!r}, not {expected!r}")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self.hear("done")

    def end(self):
        self.process.kill()
        self.process.wait()


class Trouble(threading.Thread):
    """Kills nodes as planned, alone and together with manytail, then says that it is over."""

    def __init__(self, cluster, network, manytail, identity, verdict, say):
        super().__init__(daemon=True)
        self.cluster, self.network, self.manytail, self.identity = cluster, network, manytail, identity
        self.verdict, self.say = verdict, say
        self.random = random.Random(11)
        self.killer = Killer(manytail)
        self.is_over = threading.Event()
        # Whether a node does not catch up while lines are written.
        self.is_behind = False
        self.error = None
        self.plan = ["leaders killed"] * KILLS
        if cluster.kind == "kafka":
            self.plan = [sort for leader in self.plan for sort in (leader, "coordinators killed")]
        for sort, part in (("clusters restarted", 3), ("nodes cut off", 2)):
            self.plan.insert(len(self.plan) // part, sort)
        self.counts = dict.fromkeys(self.plan, 0)
        self.together = 0

    def target(self, sort):
        """The node that is hit, as soon as the cluster says which one it is."""
        found = 0

        def is_found():
            nonlocal found
            if sort == "leaders killed":
                found = self.cluster.leader("jobs" if self.is_kafka() else "JOBS", self.random.randrange(8))
            else:
                found = self.cluster.leader("transactions:" + self.identity() if self.is_kafka() else "JOBS")
            return found > 0

        wait_until("somebody leads", is_found)
        return found

    def is_kafka(self):
        return self.cluster.kind == "kafka"

    def flow(self):
        """Waits until the cluster is whole, and records arrive."""
        rests_at = time.monotonic() + WHOLE

        def is_whole():
            self.is_behind = time.monotonic() > rests_at
            is_in_sync = self.cluster.is_in_sync()
            self.is_behind &= not is_in_sync
            return is_in_sync

        wait_until("all nodes have copies of everything", is_whole, 2 * SYNC)
        before = self.verdict.records
        wait_until("records arrive", lambda: self.verdict.records > before)
        self.killer.may_run.set()
        time.sleep(FLOW)

    def down_and_up(self, nodes):
        if self.random.randrange(2):
            # Until records arrive again, so that recoveries within a run come to their end, too.
            self.killer.may_run.clear()
        for node in nodes:
            self.cluster.kill(node)
        if self.random.randrange(2):
            self.together += 1
            self.manytail.kill()
        for node in nodes:
            self.cluster.up(node)
        for node in nodes:
            self.cluster.wait_for_return(node)

    def cut_off(self, node):
        self.killer.may_run.clear()
        self.network.tell(f"cut {node} {self.cluster.pid(node)}")
        time.sleep(CUT)
        self.network.tell("mend")

    def run(self):
        try:
            self.flow()
            self.killer.start()
            for sort in self.plan:
                if self.is_over.is_set():
                    raise TimeoutError(f"not all was done within {LONGEST} s")
                if sort == "clusters restarted":
                    self.down_and_up(NODES)
                elif sort == "nodes cut off":
                    self.cut_off(self.target(sort))
                else:
                    self.down_and_up([self.target(sort)])
                self.counts[sort] += 1
                self.flow()
                self.say(f"{self.counts[sort]} {sort}")
            wait_until("manytail is killed often enough", lambda: self.manytail.kills >= 5 * KILLS)
            self.killer.stop()
        except Exception as error:
            self.error = error
            self.killer.may_end.set()
            self.killer.may_run.set()
        self.is_over.set()


def main():
    program, kind, directory = sys.argv[1:4]
    seconds, rate, files = map(int, sys.argv[4:7])
    tree = os.path.join(directory, "tree")
    for number in range(20):
        os.makedirs(os.path.join(tree, f"d{number}"))
    cluster = Cluster(kind, os.path.join(directory, "cluster"))
    cluster.others = cluster.first + 10
    network = Network(cluster.others, cluster.first)
    manytail = writer = trouble = None
    began = time.time()
    try:
        addresses = cluster.start()
        settings = write_settings(directory, kind, addresses, tree)
        manytail = Manytail(program, settings, os.path.join(directory, "manytail.log"))
        verdict = Verdict()

        def say(what):
            lines = sum(writer.next)
            print(f"{kind}: {time.time() - began:.0f} s: {what}; {verdict.once} of {lines} lines read", flush=True)

        trouble = Trouble(cluster, network, manytail, lambda: identity_of(directory), verdict, say)
        writer = Writer(tree, rate, files, time.time() + seconds, trouble.is_over)
        writer.is_ahead = lambda: trouble.is_behind or verdict.missing(writer) > AHEAD * rate
        reader = Reader(kind, addresses, writer, verdict)
        for thread in (reader, writer, trouble):
            thread.start()
        trouble.join(LONGEST)
        trouble.is_over.set()
        trouble.join()
        writer.join()
        # After the last kill, so that the last process has something to commit.
        for log in range(files):
            writer.append(log, 1)
        say("all is written")
        reader.wait_for_all(PATIENCE)
        code = manytail.stop()
        reader.finish(time.time() + PATIENCE)
    finally:
        if manytail and manytail.process.poll() is None:
            manytail.process.kill()
        cluster.stop()
        network.end()
    counters = counters_of(directory)
    is_counted = (counters["manytail_output_commits_total"] > 0) == (kind == "kafka")
    nodes = ", ".join(f"{count} {what}" for what, count in trouble.counts.items())
    print(f"{kind}: {sum(writer.next)} lines of {files} files, {writer.rotations} rotations, "
          f"{writer.reached:.0f} lines/s of {rate}; {time.time() - began:.0f} s")
    print(f"{kind}: {nodes}; manytail killed {manytail.kills} times, {trouble.together} of them together with nodes")
    print(f"{kind}: {verdict.words(writer)}; exit {code}")
    print(f"{kind}: the last process counted {counters}")
    is_done = sum(trouble.counts.values()) == len(trouble.plan) and manytail.kills >= 5 * KILLS
    if trouble.error:
        print(f"{kind}: the trial stopped: {trouble.error!r}")
    if not (verdict.is_clean(writer) and is_done and is_counted and code == 0 and writer.reached >= SHARE * rate):
        with open(os.path.join(directory, "manytail.log")) as log:
            sys.stderr.writelines(log.readlines()[-40:])
        sys.exit(1)


main()
