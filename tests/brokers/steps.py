"""manytail killed at each step of its protocol with a real cluster, and the disk's power with it.

steps.py MANYTAIL kafka|nats DIRECTORY ROUNDS

A proxy between manytail and the nodes kills it (SIGKILL) when a step is seen: before the request is forwarded, when the
answer came and is not passed on, and right after it was; some of them together with the node that the step is about.
The steps that are not on the wire are system calls at the journal, where strace(1) kills it: before a frame is written,
and when it was written and is not synced, which is kept, or lost as at a loss of power: all of it, half of it, or as
NULs. At last answers are lost and the process lives. Lines are written all the time. Then the reader judges: each line
once, whole, in order. Exit 1 also when a point was not hit.
"""
import glob
import os
import random
import signal
import struct
import sys
import time

from cluster import Cluster, wait_until
from logs import Writer
from process import PATIENCE, Manytail, counters_of, write_settings
from proxy import Proxy
from reading import Reader, Verdict
from wire import Trap, Watch

RATE, FILES = 500, 50
MOMENTS = ("before", "withheld", "after")
STEPS = {
    "kafka": [(step, moment) for step in (
        "FindCoordinator", "InitProducerId", "OffsetFetch", "AddPartitionsToTxn", "Produce", "AddOffsetsToTxn",
        "TxnOffsetCommit", "EndTxn") for moment in MOMENTS],
    "nats": [("INFO", "withheld"), ("INFO", "after"), ("CONNECT", "before"), ("CONNECT", "sent"),
             ("first", "before"), ("first", "sent"), ("middle", "before"), ("middle", "sent")]
            + [(step, moment) for step in ("STREAM.INFO", "STREAM.MSG.GET", "commit") for moment in MOMENTS],
}
# Only there is a tail that has to be read.
TAIL = [(step, moment) for step in ("CONSUMER.CREATE", "CONSUMER.MSG.NEXT") for moment in MOMENTS]
# Together with the node at the other end: a leader of a partition, the coordinator, the leader of the stream or not.
WITH_NODE = {
    "kafka": [("Produce", "before"), ("Produce", "withheld"), ("TxnOffsetCommit", "withheld"), ("EndTxn", "before"),
              ("EndTxn", "withheld")],
    "nats": [("commit", "before"), ("commit", "sent"), ("commit", "withheld")],
}
# The answer is lost, and the process lives.
LOST = {"kafka": [("EndTxn", "withheld"), ("TxnOffsetCommit", "withheld")], "nats": [("commit", "withheld")]}
# Records are delivered again within the run.
DARK = {"kafka": ("EndTxn", "before"), "nats": ("middle", "before")}
CALLS = [("write", "kept"), ("fdatasync", "kept"), ("fdatasync", "lost"), ("fdatasync", "half"), ("fdatasync", "NULs")]
TRANSACTION = 3
# A start with a cluster that has to elect may take so long until it comes to a step.
REACHED = 60


class Trial:
    def __init__(self, program, kind, directory, rounds):
        self.kind, self.directory, self.rounds = kind, directory, rounds
        self.random = random.Random(3)
        self.tree = os.path.join(directory, "tree")
        for number in range(20):
            os.makedirs(os.path.join(self.tree, f"d{number}"))
        self.manytail = None
        self.watch = Watch(kind, lambda: self.manytail.process.pid)
        self.cluster = Cluster(kind, os.path.join(directory, "cluster"))
        self.cluster.others = self.cluster.first + 10
        self.proxy = self.watch.proxy = Proxy(self.cluster.others, self.cluster.first, self.watch.observe)
        self.proxy.start()
        addresses = self.cluster.start()
        table = [f'transaction_timeout = "{TRANSACTION}s"'] if kind == "kafka" else []
        settings = write_settings(directory, kind, addresses, self.tree, table=table)
        self.writer = Writer(self.tree, RATE, FILES, time.time() + 3600)
        self.verdict = Verdict()
        direct = ",".join(f"127.0.0.1:{self.cluster.first + node}" for node in (1, 2, 3))
        self.reader = Reader(kind, direct, self.writer, self.verdict)
        self.manytail = Manytail(program, settings, os.path.join(directory, "manytail.log"))
        self.hits = {}
        self.nodes = self.numbered = 0

    def run(self):
        self.writer.start()
        self.reader.start()
        self.flow()
        self.end_process()
        points = [(self.step, point) for point in STEPS[self.kind]] + [(self.call, point) for point in CALLS]
        if self.kind == "nats":
            points += [(self.tail_step, point) for point in TAIL]
        for _ in range(self.rounds):
            self.random.shuffle(points)
            for function, point in points:
                function(point)
                self.count(function, point)
        for point in WITH_NODE[self.kind]:
            self.step(point, with_node=True)
            self.count(self.step_with_node, point)
        self.manytail.start()
        for point in LOST[self.kind]:
            self.lose_answer(point)
            self.count(self.lose_answer, point)
        self.stay_dark(DARK[self.kind])
        self.count(self.stay_dark, DARK[self.kind])

    def count(self, function, point):
        key = (function.__name__, *point)
        self.hits[key] = self.hits.get(key, 0) + 1

    def flow(self):
        """Waits until records arrive."""
        before = self.verdict.records
        wait_until("records arrive", lambda: self.verdict.records > before)

    def kill(self):
        self.manytail.process.send_signal(signal.SIGKILL)

    def end_process(self):
        self.kill()
        self.ended()

    def ended(self):
        """The process is dead: nothing else may have ended it."""
        code = self.manytail.process.wait(REACHED)
        if code != -signal.SIGKILL:
            raise ChildProcessError(f"manytail ended by itself: {code}")
        self.manytail.kills += 1

    def reach(self, trap):
        if not trap.is_hit.wait(REACHED):
            raise TimeoutError(f"{trap.step} was not seen {trap.moment} within {REACHED} s")

    def step(self, point, with_node=False):
        killed = []

        def kill(connection):
            self.kill()
            if with_node:
                killed.append(connection.client.node)
                os.kill(self.cluster.pid(connection.client.node), signal.SIGKILL)

        self.watch.trap = trap = Trap(*point, kill, self.random.randrange(3) if is_repeated(point[0]) else 0)
        self.manytail.start()
        self.reach(trap)
        self.ended()
        for node in killed:
            self.nodes += 1
            self.manytail.start()
            self.cluster.up(node)
            self.cluster.wait_for_return(node)
            self.cluster.wait_for_sync()
            self.flow()
            self.end_process()

    def step_with_node(self, point):
        self.step(point, with_node=True)

    def tail_step(self, point):
        """The stream gets records that the journal does not know, so that the next start reads them. The process does
        not hear of it: it could store the offsets before it dies."""
        self.step(("commit", "withheld"))
        self.step(point)

    def call(self, point):
        """Killed by strace at a system call of the journal; what was not synced is kept, or lost."""
        call, fate = point
        journal = newest_journal(self.directory)
        trace = os.path.join(self.directory, "trace")
        # The first fdatasync of a start is of what the former process wrote.
        inject = f"inject={call}:signal=SIGKILL:when={self.random.randrange(2, 8)}"
        calls = "trace=write,pwrite64,fdatasync"
        self.manytail.start(("strace", "-D", "-f", "-qq", "-o", trace, "-P", journal, "-e", calls, "-e", inject))
        self.ended()
        wait_until("strace has ended", lambda: "killed by SIGKILL" in text_of(trace))
        frame = unsynced(trace)
        if call == "fdatasync" and not frame:
            raise AssertionError("killed before fdatasync, and all is synced")
        with open(journal, "r+b") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(length - frame)
            self.numbered += call == "fdatasync" and is_numbered(file.read())
            if fate != "kept":
                file.truncate(length - (frame // 2 if fate == "half" else frame))
            if fate == "NULs":
                file.truncate(length)

    def lose_answer(self, point):
        """The answer is lost with its connection."""
        self.watch.trap = trap = Trap(*point, lambda connection: connection.close(), 1)
        self.reach(trap)
        self.flow()

    def stay_dark(self, point):
        """The step's request is lost, and no connection lasts for longer than a transaction."""

        def darken(connection):
            self.watch.is_dark = True
            connection.close()

        self.watch.trap = trap = Trap(*point, darken, 1)
        self.reach(trap)
        time.sleep(2 * TRANSACTION)
        self.watch.is_dark = False
        self.flow()

    def finish(self):
        self.writer.until = 0
        self.writer.join()
        for log in range(FILES):
            self.writer.append(log, 1)
        self.reader.wait_for_all(PATIENCE)
        code = self.manytail.stop()
        self.reader.finish(time.time() + PATIENCE)
        return code

    def close(self):
        self.writer.until = 0
        if self.manytail and self.manytail.process.poll() is None:
            self.manytail.process.kill()
        self.cluster.stop()


def is_repeated(step):
    """Whether the step is seen again and again in a run."""
    return step in (
        "AddPartitionsToTxn", "Produce", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn", "first", "middle", "commit"
    )


def newest_journal(directory):
    names = glob.glob(os.path.join(directory, "state", "journal.*"))
    numbers = [int(end) for end in (name.rsplit(".", 1)[1] for name in names) if end.isdigit()]
    return os.path.join(directory, "state", f"journal.{max(numbers)}")


def text_of(path):
    with open(path) as file:
        return file.read()


def unsynced(trace):
    """How many bytes were written since the last fdatasync that ended."""
    count = 0
    for line in text_of(trace).splitlines():
        if "fdatasync" in line and line.endswith("= 0"):
            count = 0
        elif "write" in line and line.rsplit("= ", 1)[-1].isdigit():
            count += int(line.rsplit("= ", 1)[-1])
    return count


def is_numbered(frame):
    """Whether this is a frame of the journal, with the number of a commit as its first item."""
    return len(frame) > 21 and struct.unpack_from("<I", frame)[0] == 0x9D00F5A7 and frame[21] == 8


def main():
    program, kind, directory = sys.argv[1:4]
    began = time.time()
    trial = Trial(program, kind, directory, int(sys.argv[4]))
    try:
        trial.run()
        code = trial.finish()
    finally:
        trial.close()
    verdict, writer = trial.verdict, trial.writer
    counters = counters_of(directory)
    is_recovered = kind == "nats" or counters["manytail_output_recoveries_total"] > 0
    print(f"{kind}: {len(trial.hits)} points hit {sum(trial.hits.values())} times: manytail killed "
          f"{trial.manytail.kills} times, {trial.nodes} of them with a node; {trial.numbered} numbered frames were not "
          f"synced; {time.time() - began:.0f} s")
    print(f"{kind}: {sum(writer.next)} lines; {verdict.words(writer)}; exit {code}")
    print(f"{kind}: the last process counted {counters}")
    if not (verdict.is_clean(writer) and code == 0 and is_recovered and (trial.numbered or kind == "nats")):
        sys.stderr.write(text_of(os.path.join(directory, "manytail.log"))[-6000:])
        sys.exit(1)


main()
