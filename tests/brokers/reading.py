"""A consumer that knows nothing of manytail, and its verdict."""
import collections
import json
import os
import threading
import time

PARTITIONS = 8
# Whoever has everything waits so long for more.
QUIET = 5


class Verdict:
    """What the consumer saw: for each log a byte for each number, which says whether it was there."""

    def __init__(self):
        self.seen = collections.defaultdict(bytearray)
        self.ends = {}
        self.records = self.once = self.repeated = self.changed = self.disordered = 0
        # Where the first of those that are wrong were found.
        self.wrong = []

    def take(self, value, writer, where=""):
        self.records += 1
        record = json.loads(value)
        line = record["line"]
        words = line.split(" ", 4)
        if len(words) < 4 or not (words[1] + words[3]).isdecimal() or writer.line(int(words[1]), int(words[3])) != line:
            self.changed += 1
            return
        seen, number = self.seen[int(words[1])], int(words[3])
        if number >= len(seen):
            seen.extend(bytes(number + 1000 - len(seen)))
        if seen[number]:
            self.repeated += 1
            self.note(f"repeated at {where}: {record['file']} {record['offset']}")
        else:
            self.once += 1
            seen[number] = 1
        # Offsets of one file follow each other without a gap.
        file, offset = record["file"], record["offset"]
        if self.ends.get(file, 0) != offset:
            self.disordered += 1
            self.note(f"after {self.ends.get(file, 0)} at {where}: {file} {offset}")
        self.ends[file] = offset + len(line) + 1

    def note(self, what):
        if len(self.wrong) < 20:
            self.wrong.append(what)

    def missing(self, writer):
        return sum(writer.next) - self.once

    def words(self, writer):
        return (
            f"{self.records} records read: {self.missing(writer)} missing, {self.repeated} repeated, "
            f"{self.changed} changed, {self.disordered} out of order" + "".join(f"\n    {what}" for what in self.wrong)
        )

    def is_clean(self, writer):
        return not (self.missing(writer) or self.repeated or self.changed or self.disordered)


class Reader(threading.Thread):
    """Reads everything while it comes, for a verdict."""

    def __init__(self, kind, addresses, writer, verdict):
        super().__init__(daemon=True)
        self.kind, self.addresses, self.writer, self.verdict = kind, addresses, writer, verdict
        self.may_end = threading.Event()
        self.error = None

    def run(self):
        try:
            (self.read_kafka if self.kind == "kafka" else self.read_nats)()
        except Exception as error:
            self.error = error

    def wait_for_all(self, patience):
        """Waits until nothing is missing, or nothing has come for so many seconds."""
        records, since = self.verdict.records, time.time()
        while self.verdict.missing(self.writer) > 0 and time.time() < since + patience and self.is_alive():
            time.sleep(0.1)
            if self.verdict.records > records:
                records, since = self.verdict.records, time.time()

    def finish(self, until):
        """Reads to the end of what is there."""
        self.may_end.set()
        self.join(max(until - time.time(), 1))
        if self.error or self.is_alive():
            raise self.error or TimeoutError("the reader does not come to the end")

    def read_kafka(self):
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        consumer = Consumer({
            "bootstrap.servers": self.addresses, "group.id": f"judge-{os.getpid()}", "auto.offset.reset": "earliest",
            "isolation.level": "read_committed", "enable.auto.commit": False, "log_level": 2,
            "enable.partition.eof": True, "queued.max.messages.kbytes": 32768,
        })
        partitions = [TopicPartition("jobs", partition, 0) for partition in range(PARTITIONS)]
        consumer.assign(partitions)
        reached = {}
        while True:
            messages = consumer.consume(5000, 0.5)
            for message in messages:
                error = message.error()
                if not error:
                    self.verdict.take(message.value(), self.writer)
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached[message.partition()] = message.offset()
            if self.may_end.is_set() and not messages:
                ends = [consumer.get_watermark_offsets(partition, 10)[1] for partition in partitions]
                if ends == [reached.get(partition) for partition in range(PARTITIONS)]:
                    break
        consumer.close()

    def read_nats(self):
        import asyncio

        asyncio.run(self.follow_stream())

    async def follow_stream(self):
        import asyncio

        import nats

        async def ignore(_error):
            pass

        servers = ["nats://" + address for address in self.addresses.split(",")]
        client = await nats.connect(
            servers=servers, error_cb=ignore, max_reconnect_attempts=-1, reconnect_time_wait=0.2
        )
        self.next = 1
        while True:
            try:
                if await self.read_stream(client):
                    break
            except (nats.errors.Error, asyncio.TimeoutError, KeyError):
                # The nodes may elect a leader, or the one that had the consumer is gone.
                await asyncio.sleep(0.2)
        await client.close()

    async def read_stream(self, client):
        """Follows the stream until nothing comes. Returns whether that is the end of it."""
        import asyncio

        inbox = client.new_inbox()
        subscription = await client.subscribe(
            inbox, cb=self.take_from_stream, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        config = {
            "deliver_subject": inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": self.next,
            "ack_policy": "none", "replay_policy": "instant", "flow_control": True, "idle_heartbeat": 5_000_000_000,
            "num_replicas": 1, "mem_storage": True,
        }
        self.client, self.is_in_order = client, True
        try:
            await self.ask(client, "CONSUMER.CREATE.JOBS", {"stream_name": "JOBS", "config": config})
            while self.is_in_order:
                before = self.next
                await asyncio.sleep(1)
                if self.next == before:
                    is_end = self.next > (await self.ask(client, "STREAM.INFO.JOBS", {}))["state"]["last_seq"]
                    if self.may_end.is_set() or not is_end:
                        return is_end
        finally:
            await subscription.unsubscribe()
        return False

    async def ask(self, client, question, body):
        answer = await client.request(f"$JS.API.{question}", json.dumps(body).encode(), timeout=5)
        return json.loads(answer.data)

    async def take_from_stream(self, message):
        if message.reply.startswith("$JS.FC."):
            await message.respond(b"")
        elif message.reply.startswith("$JS.ACK.") and self.is_in_order:
            sequence = int(message.reply.split(".")[5])
            # After a gap the stream is asked again.
            self.is_in_order = sequence <= self.next
            if sequence == self.next:
                self.verdict.take(message.data, self.writer, f"{sequence}, {message.headers}")
                self.next += 1
        elif message.headers and "Nats-Consumer-Stalled" in message.headers:
            await self.client.publish(message.headers["Nats-Consumer-Stalled"], b"")


def consume(kind, addresses, writer, verdict, until):
    """Reads all of the cluster until nothing is missing and nothing more comes, or nothing came until that time."""
    reader = Reader(kind, addresses, writer, verdict)
    reader.start()
    reader.wait_for_all(max(until - time.time(), QUIET))
    time.sleep(QUIET)
    reader.finish(max(until, time.time() + QUIET))
