"""Which node leads? leader.py kafka PORTS TOPIC|transactions:ID PARTITION, or leader.py nats PORTS STREAM 0; no STREAM: of the cluster.

Prints the node's number. Exit 1 when nobody leads, or nobody answers.
"""
import json
import sys
import urllib.request


def admin(ports):
    from confluent_kafka.admin import AdminClient

    addresses = ",".join(f"127.0.0.1:{ports + node}" for node in (1, 2, 3))
    return AdminClient({"bootstrap.servers": addresses, "socket.timeout.ms": 3000, "log_level": 2})


def kafka(client, what, partition):
    topic, number = what, partition
    if what.startswith("transactions:"):
        topic, number = "__transaction_state", java_hash(what.split(":", 1)[1]) % 8
    return client.list_topics(topic, timeout=5).topics[topic].partitions[number].leader


def in_sync(client):
    """The nodes that have an up-to-date copy of every partition of every topic, and can be asked for it."""
    topics = client.list_topics(timeout=5).topics.values()
    partitions = [partition for topic in topics for partition in topic.partitions.values()]
    if not partitions or any(partition.leader < 0 for partition in partitions):
        return set()
    return set.intersection(*(set(partition.isrs) for partition in partitions))


def java_hash(text):
    """String.hashCode() without its sign, as Kafka finds a coordinator's partition (Utils.abs)."""
    value = 0
    for letter in text:
        value = (31 * value + ord(letter)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF


def nats(ports, stream):
    """Each node knows the leaders of the streams that it has a copy of; one that was killed does not answer."""
    for node in (1, 2, 3):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports + 3 + node}/jsz?streams=1&accounts=1", timeout=3) as answer:
                found = json.load(answer)
        except OSError:
            continue
        streams = [stream for account in found.get("account_details", []) for stream in account.get("stream_detail", [])]
        groups = [known["cluster"] for known in streams if known["name"] == stream] if stream else [found["meta_cluster"]]
        for group in groups:
            if group.get("leader"):
                return int(group["leader"].removeprefix("n"))
    raise LookupError(f"nobody leads {stream or 'the cluster'}")


def main():
    broker, ports, what, partition = sys.argv[1:5]
    try:
        leader = kafka(admin(int(ports)), what, int(partition)) if broker == "kafka" else nats(int(ports), what)
    except Exception as error:
        print(f"no leader: {error!r}", file=sys.stderr)
        return 1
    print(leader)
    return 0 if leader >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
