"""Makes a topic with three copies of each record, two of which have to be there. Needs scripts/brokers' Python.

Call: topic.py ADDRESSES TOPIC PARTITIONS
"""
import sys

from confluent_kafka.admin import AdminClient, NewTopic


def main():
    addresses, name, partitions = sys.argv[1:4]
    topic = NewTopic(name, int(partitions), 3, config={"min.insync.replicas": "2"})
    admin = AdminClient({"bootstrap.servers": addresses, "log_level": 2})
    for outcome in admin.create_topics([topic]).values():
        outcome.result(30)


main()
