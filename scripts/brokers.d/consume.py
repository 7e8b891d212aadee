"""Reads a topic as any consumer would, and says how many records came and how late. Needs scripts/brokers' Python.

Call: consume.py ADDRESSES TOPIC [OPTIONS]    prints `ready` on standard error when it knows where it begins, a line of key=value at the end
Latency is the time at which the program gets a record, less the time in its line: `joblogs append` writes it as the third word.
"""
import argparse
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

ARGUMENTS = argparse.ArgumentParser(description=__doc__.splitlines()[0])
ARGUMENTS.add_argument("addresses")
ARGUMENTS.add_argument("topic")
ARGUMENTS.add_argument("--isolation", default="read_committed", help="read_committed or read_uncommitted")
ARGUMENTS.add_argument("--from", dest="start", default="beginning", help="beginning or end")
ARGUMENTS.add_argument("--expect", type=int, default=sys.maxsize, help="end after so many records")
ARGUMENTS.add_argument("--quiet", type=float, default=30, help="end when nothing came for so many seconds")
ARGUMENTS.add_argument("--lines", help="write the lines of the records to this file, as they came")
ARGUMENTS.add_argument("--field", default="line", help="the key of the json record that has the line")


def positions(consumer, topic, start):
    """All partitions of the topic, each with the offset at which reading begins."""
    known = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    found = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in known]
    if start == "end":
        for partition in found:
            partition.offset = consumer.get_watermark_offsets(partition, timeout=30)[1]
    return found


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] if sorted_values else -1


def main():
    arguments = ARGUMENTS.parse_args()
    consumer = Consumer({
        "bootstrap.servers": arguments.addresses, "group.id": "judge", "enable.auto.commit": False,
        "isolation.level": arguments.isolation, "log_level": 2,
        # Nothing is waited for here: a broker answers when it has a byte, and is asked again at once.
        "fetch.min.bytes": 1, "fetch.wait.max.ms": 500, "fetch.queue.backoff.ms": 1,
    })
    consumer.assign(positions(consumer, arguments.topic, arguments.start))
    print("ready", file=sys.stderr, flush=True)
    lines = open(arguments.lines, "w", encoding="utf-8") if arguments.lines else None
    records, late, came_at = 0, [], time.time()
    while records < arguments.expect and time.time() - came_at < arguments.quiet:
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        now_ns = time.time_ns()
        came_at = now_ns / 1e9
        line = json.loads(message.value())[arguments.field]
        if lines:
            lines.write(line if line.endswith("\n") else line + "\n")
        if line.startswith("canary "):
            continue
        records += 1
        late.append(now_ns - int(line.split(" ", 3)[2]))
    if lines:
        lines.close()
    late.sort()
    times = " ".join(f"{name}_us={percentile(late, share) // 1000}" for name, share in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)])
    print(f"records={records} {times}")
    consumer.close()


main()
