"""The rows of scripts/compare as a table in Markdown, with notes. Only the standard library.

Call: table.py ROWS     (one JSON object per line)
"""

import json
import statistics
import sys

NAMES = {"manytail": "**manytail**", "tail": "`tail -F`", "rsyslog": "rsyslog", "syslog-ng": "syslog-ng", "python": "Python, watchdog"}
HEAD = ["program", "files", "lines delivered", "CPU per line", "latency p50", "p99", "p99.9", "memory", "descriptors", "watches", "idle CPU", "ready after"]


def load(path):
    """The machine, and the runs of each (files, program), in the order in which they were measured."""
    machine, groups = {}, {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["kind"] == "machine":
                machine = row
            else:
                groups.setdefault((row["files"], row["program"]), []).append(row)
    return machine, groups


def summary(runs):
    """The medians of the runs that went through, or None."""
    done = [run for run in runs if "why" not in run]
    if not done:
        return None
    median = {key: statistics.median(run[key] for run in done) for key in done[0] if isinstance(done[0][key], (int, float)) and key != "idle_cpu_percent"}
    idle = [run["idle_cpu_percent"] for run in done if run["idle_cpu_percent"] is not None]
    median["idle_cpu_percent"] = statistics.median(idle) if idle else None
    median["share"] = statistics.median(1 - run["lost"] / run["written"] for run in done)
    return median


def milliseconds(us):
    ms = us / 1000
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:,.0f} ms"


def percent(share):
    """Never 100 % when something is missing."""
    return "100 %" if share == 1 else f"{min(99.99, 100 * share):.4g} %"


def cells(found):
    idle = found["idle_cpu_percent"]
    came = [f"{found['cpu_us_per_line']:.1f} us", *(milliseconds(found[key]) for key in ("p50_us", "p99_us", "p999_us"))]
    return [
        percent(found["share"]),
        *(came if found["lines"] else ["-"] * 4),
        f"{found['rss_kib'] / 1024:,.0f} MiB",
        f"{found['descriptors']:,.0f}",
        f"{found['watches']:,.0f}",
        "?" if idle is None else f"{idle:.1f} %",
        f"{found['ready_s']:.1f} s",
    ]


def complaints(runs):
    """What is to be said of a program with this many files."""
    said = []
    for run in runs:
        if "why" in run:
            said.append(run["why"])
    for key in ("lost", "repeated", "torn", "out_of_order"):
        counts = [run[key] for run in runs if run.get(key)]
        if counts:
            name = "not delivered before the deadline" if key == "lost" else key.replace("_", " ")
            said.append(f"{name}: {', '.join(f'{count:,}' for count in counts)} lines")
            if key == "lost":
                said += sorted({f"it said: {run['log']}" for run in runs if run.get("lost") and run["log"]})[:1]
    slow = [run["written_per_s"] for run in runs if "why" not in run and run["written_per_s"] < 0.95 * MACHINE["rate"]]
    if slow:
        said.append(f"beside it only {min(slow):,.0f} lines/s could be written")
    return said


def table(groups):
    notes = []
    print("| " + " | ".join(HEAD) + " |")
    print("|---|" + "---:|" * (len(HEAD) - 1))
    for (files, program), runs in groups.items():
        found = summary(runs)
        row = cells(found) if found else ["cannot"] + ["-"] * (len(HEAD) - 3)
        said = complaints(runs)
        if said:
            notes.append(f"{NAMES[program].strip('*')}, {files:,} files: {'; '.join(said)}.")
            row[0] += f" ({len(notes)})"
        print("| " + " | ".join([NAMES[program], f"{files:,}", *row]) + " |")
    print()
    for number, note in enumerate(notes, 1):
        print(f"({number}) {note}  ")
    print()


def descriptor_limit(machine):
    limit = machine["descriptor_limit"]
    return f"{int(limit):,}" if limit.isdigit() else limit


def settings():
    runs = "one run" if MACHINE["runs"] == 1 else f"medians of {MACHINE['runs']} runs"
    new = f" (after every {MACHINE['create_every']} lines a new one)" if MACHINE["create_every"] else ""
    print(
        f"Measured on {MACHINE['cores']} cores, {MACHINE['memory_gib']} GiB, {MACHINE['kernel']}, {MACHINE['file_system']}; writer, follower and "
        f"reader on the same cores; at most {descriptor_limit(MACHINE)} descriptors, inotify queue of {MACHINE['inotify_queue']:,} events, "
        f"pipe of {MACHINE['pipe_kib']} KiB. "
        f"{MACHINE['rate']:,} lines/s for {MACHINE['seconds']} s to random files{new}, each line an open, a write and a close; {runs}. "
        f"CPU is of one core, up to the last line that came. Versions: {'; '.join(MACHINE['versions'].values())}."
    )
    print()
    print(
        "tail, rsyslog and syslog-ng keep every file open (rsyslog twice): the limit of descriptors decides how many they can follow. "
        "Not the same: tail is given the names, prints no paths and finds no new files; the Python program and tail know nothing after a "
        f"restart; syslog-ng looks at each file every {MACHINE['follow_freq']} s (follow-freq), and its start goes on from offsets kept "
        "before, because it cannot begin at the end of files; rsyslog looks through its files again when a name appears in or above the "
        "tree, which happens only with CREATE_EVERY; rsyslog and syslog-ng do much besides (filters, transports, disk queues) that is not "
        "used here."
    )


if __name__ == "__main__":
    MACHINE, GROUPS = load(sys.argv[1])
    table(dict(sorted(GROUPS.items(), key=lambda item: (item[0][0], list(NAMES).index(item[0][1])))))
    settings()
