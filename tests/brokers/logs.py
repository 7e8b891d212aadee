"""Job logs, and what a writer puts into them."""
import os
import random
import threading
import time

# Lines that are written to a log at once.
BURST = 10
PAUSE = 0.01


class Writer(threading.Thread):
    """Appends numbered lines to logs and rotates some of them by renaming, until that time, and longer if `may_end` is
    given and not set."""

    def __init__(self, tree, rate, files, until, may_end=None):
        super().__init__(daemon=True)
        self.tree, self.rate, self.until, self.may_end = tree, rate, until, may_end
        self.random = random.Random(7)
        self.next = [0] * files
        self.rotations = 0
        # Whether to wait for the readers.
        self.is_ahead = lambda: False
        # Lines a second that were reached.
        self.reached = 0.0

    def line(self, log, number):
        return f"log {log} line {number} {'x' * (number * 7 % 90)}"

    def append(self, log, count):
        path = os.path.join(self.tree, f"d{log % 20}", f"{log}.log")
        first = self.next[log]
        text = "".join([self.line(log, first + n) + "\n" for n in range(count)])
        with open(path, "ab", buffering=0) as file:
            file.write(text.encode())
        self.next[log] += count
        return path

    def run(self):
        began, written = time.time(), 0
        while time.time() < self.until or self.may_end and not self.may_end.is_set():
            due = int((time.time() - began) * self.rate) - written
            # So that the end is noticed if the machine is too slow.
            for _ in range(0 if self.is_ahead() else min(due // BURST, 1000)):
                path = self.append(self.random.randrange(len(self.next)), BURST)
                written += BURST
                if self.random.randrange(200) == 0:
                    self.rotations += 1
                    os.rename(path, f"{path}.{self.rotations}")
            time.sleep(PAUSE)
        self.reached = written / (time.time() - began)
