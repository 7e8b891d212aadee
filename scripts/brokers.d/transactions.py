"""How many transactions a second does a cluster end? Each is what a commit of manytail is: records, and an offset of a group.

Call: transactions.py ADDRESSES TOPIC PRODUCERS SECONDS     needs scripts/brokers' Python; prints a line of key=value
"""
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition


class Node(threading.Thread):
    """Ends one transaction after the other, each with ten records for one partition."""

    def __init__(self, addresses, topic, number):
        super().__init__()
        self.topic, self.number = topic, number
        self.took = []
        self.until = 0
        self.producer = Producer({
            "bootstrap.servers": addresses, "transactional.id": f"node-{number}", "linger.ms": 0, "message.timeout.ms": 20000, "transaction.timeout.ms": 60000, "log_level": 2,
        })
        self.producer.init_transactions(60)
        group = Consumer({"bootstrap.servers": addresses, "group.id": f"node-{number}", "log_level": 2})
        self.group = group.consumer_group_metadata()
        group.close()

    def run(self):
        while time.time() < self.until:
            self.producer.begin_transaction()
            for record in range(10):
                self.producer.produce(self.topic, b"x" * 300, key=str(self.number))
            self.producer.flush()
            began = time.time()
            self.producer.send_offsets_to_transaction([TopicPartition(self.topic, 0, len(self.took) + 1)], self.group)
            self.producer.commit_transaction()
            self.took.append(time.time() - began)


def main():
    addresses, topic = sys.argv[1:3]
    producers, seconds = int(sys.argv[3]), float(sys.argv[4])
    nodes = [Node(addresses, topic, number) for number in range(producers)]
    began = time.time()
    for node in nodes:
        node.until = began + seconds
        node.start()
    for node in nodes:
        node.join()
    took = sorted(each for node in nodes for each in node.took)
    print(f"transactions={len(took)} per_s={len(took) / (time.time() - began):.0f} p50_us={took[len(took) // 2] * 1e6:.0f} "
          f"p99_us={took[len(took) * 99 // 100] * 1e6:.0f}")


main()
