"""A cluster of brokers on loopback, by scripts/brokers."""
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "scripts")
BROKERS = os.path.join(SCRIPTS, "brokers")
sys.path.append(os.path.join(SCRIPTS, "brokers.d"))
import leader  # noqa: E402

NODES = (1, 2, 3)
PORTS = {"kafka": 19090, "nats": 14220}
# How long a cluster may take to have all its copies again.
PATIENCE = 90


def brokers(*arguments, **settings):
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    return subprocess.run(
        [BROKERS, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout.strip()


def wait_until(what, condition, patience=PATIENCE):
    """Waits until the condition is true. An exception of it is a no."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if condition():
                return
            reason = "no"
        except Exception as error:
            reason = repr(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {patience} s: {reason}")
        time.sleep(0.1)


class Cluster:
    """Three nodes. `first`: the first of ten ports; `advertised`: those at which others find the nodes."""

    def __init__(self, kind, directory, first=None, advertised=None):
        self.kind, self.directory = kind, directory
        self.first = first or int(os.environ.get("PORTS", PORTS[kind]))
        self.others = advertised or self.first
        self.admin = None
        # How many starts the log of each node had when the node was last started.
        self.starts = dict.fromkeys(NODES, 0)

    def start(self):
        """Returns the addresses of the nodes. Who is told to end from now on stops them first."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
        said = brokers("start", self.kind, self.directory, PORTS=self.first, ADVERTISED=self.others)
        addresses = said.splitlines()[-1]
        if self.kind == "kafka":
            brokers("topic", self.directory, "jobs", ADVERTISED=self.others)
            self.admin = leader.admin(self.others)
        return addresses

    def stop(self):
        brokers("stop", self.directory)

    def pid(self, node):
        with open(os.path.join(self.directory, f"n{node}.pid")) as file:
            return int(file.read())

    def kill(self, node):
        brokers("kill", self.directory, node)

    def up(self, node):
        self.starts[node] = self.starts_of(node)
        brokers("up", self.directory, node)

    def starts_of(self, node):
        with open(os.path.join(self.directory, f"n{node}.log")) as log:
            return sum("Kafka Server started" in line for line in log)

    def leader(self, what, partition=0):
        """The node that leads the topic's partition, or the stream; 0: nobody does."""
        try:
            if self.kind == "kafka":
                return max(leader.kafka(self.admin, what, partition), 0)
            return leader.nats(self.first, what)
        except Exception as error:
            print(f"no leader of {what}: {error!r}", file=sys.stderr)
            return 0

    def is_in_sync(self):
        """Whether each node has a copy of everything."""
        if self.kind == "kafka":
            return leader.in_sync(self.admin) == set(NODES)
        behind = {node: why for node in NODES if (why := what_ails(self.first + 3 + node))}
        if behind:
            raise LookupError(f"what nodes say: {behind}")
        return leader.nats(self.first, "JOBS") > 0

    def wait_for_sync(self):
        wait_until("all nodes have copies of everything", self.is_in_sync)

    def wait_for_return(self, node):
        """Until a node that was started again serves. From then on what is said of copies is about its new life: Kafka
        takes a node back only when it was missed, and then its copies are out of date. NATS asks the node itself."""
        if self.kind == "kafka":
            wait_until(f"node {node} serves again", lambda: self.starts_of(node) > self.starts[node])


def what_ails(port):
    """What a node of NATS says that it lacks; nothing if it is healthy."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3):
            return ""
    except urllib.error.HTTPError as error:
        return error.read().decode(errors="replace").strip() or str(error)
    except OSError as error:
        return str(error)
