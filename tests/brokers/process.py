"""manytail as a process that is killed and started again, its settings, and what it tells of itself."""
import json
import os
import re
import signal
import subprocess
import threading

# The longest that an end may take, in seconds.
PATIENCE = 180
COUNTERS = [
    "manytail_output_commits_total",
    "manytail_output_recoveries_total",
    "manytail_output_resent_bytes_total",
    "manytail_output_refused_records_total",
]


class Manytail:
    """The process under test, started again whenever it was killed. `log` has what all of them said."""

    def __init__(self, program, settings, log):
        self.program, self.settings, self.log = program, settings, log
        self.kills = 0
        self.process = None
        self.lock = threading.Lock()
        self.start()

    def start(self, under=()):
        """Starts it; `under`: as the command of another program."""
        command = [*under, self.program, "run", "--config", self.settings]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def kill(self):
        with self.lock:
            if self.process.poll() is not None:
                raise ChildProcessError(f"manytail ended by itself: {self.process.returncode}")
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.kills += 1
            self.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def write_settings(directory, kind, addresses, tree, general=(), table=(), host="node7"):
    """A settings file in `directory`, where the state, the metrics and the log are, too; its path. `general` and
    `table` are more lines for the file and for the table of the broker."""
    nodes = addresses.split(",")
    lines = [
        f'output = "{"kafka:jobs" if kind == "kafka" else f"nats:jobs.{host}"}"',
        f'host = "{host}"', f'paths = ["{tree}"]', f'state_dir = "{directory}/state"', 'commit_interval = "200ms"',
        f'metrics = ["textfile:{directory}/manytail.prom"]', *general, f"[{kind}]",
    ]
    if kind == "kafka":
        lines.append(f"brokers = {json.dumps(nodes)}")
    else:
        lines += [f'servers = {json.dumps(["nats://" + node for node in nodes])}', 'stream = "JOBS"', "create = true"]
    path = os.path.join(directory, "manytail.toml")
    with open(path, "w") as file:
        file.write("\n".join([*lines, *table]) + "\n")
    return path


def counters_of(directory):
    """What the last process counted of its output."""
    with open(os.path.join(directory, "manytail.prom")) as file:
        values = dict(line.rsplit(" ", 1) for line in file if not line.startswith("#"))
    return {name: float(values[name]) for name in COUNTERS}


def identity_of(directory):
    """The name under which the state directory commits, as it is in the journal."""
    for name in os.listdir(os.path.join(directory, "state")):
        if name.startswith("journal.") and name.split(".")[1].isdigit():
            with open(os.path.join(directory, "state", name), "rb") as file:
                content = file.read()
            # Paths in it may begin alike.
            found = re.search(rb"manytail-[\w.-]*-[0-9a-f]{8}", content)
            if found:
                return found[0].decode()
    return ""
