"""Just enough of the wire between manytail and a cluster to stop at a step of the protocol.

A trap waits for a step and springs at a moment: "before" the request is forwarded, when it was "sent", when its answer
came and was "withheld", or "after" the answer was passed on.
"""
import json
import struct
import threading

from proxy import ports_of

KAFKA = {
    "FindCoordinator": 10, "InitProducerId": 22, "OffsetFetch": 9, "AddPartitionsToTxn": 24, "Produce": 0,
    "AddOffsetsToTxn": 25, "TxnOffsetCommit": 28, "EndTxn": 26,
}


class Trap:
    """Springs when the step is seen once more than `skip` times: calls `action` with the connection's number of the
    node. Then nothing more passes on the connection, unless the moment is "after"."""

    def __init__(self, step, moment, action, skip=0):
        self.step, self.moment, self.action, self.skip = step, moment, action, skip
        self.is_hit = threading.Event()

    def is_at(self, step, moment):
        return not self.is_hit.is_set() and (self.step, self.moment) == (step, moment)


class Watch:
    """What all connections share. `process` gives the id of the process that is watched."""

    def __init__(self, kind, process):
        self.connection = Kafka if kind == "kafka" else Nats
        self.process, self.proxy, self.trap = process, None, None
        # Connections are closed as soon as something comes.
        self.is_dark = False

    def observe(self, client, server):
        connection = self.connection(self, client, server)
        return connection.from_client, connection.from_server


class Connection:
    """One connection, its bytes cut into frames. Those of other clients pass."""

    def __init__(self, watch, client, server):
        self.watch, self.client, self.server = watch, client, server
        self.is_ours = None
        self.waiting = {client: bytearray(), server: bytearray()}
        # Of the request whose answer springs the trap.
        self.awaited = set()

    def from_client(self, data):
        return self.frames(self.client, data, self.request)

    def from_server(self, data):
        return self.frames(self.server, data, self.answer)

    def frames(self, end, data, look):
        waiting = self.waiting[end]
        waiting += data
        begin = 0
        while True:
            length = self.length_of(waiting, begin)
            if not length or begin + length > len(waiting):
                break
            frame = bytes(waiting[begin : begin + length])
            if self.watch.is_dark and self.is_ours:
                self.watch.proxy.close(end)
                return b""
            step, moments = look(frame)
            trap = self.watch.trap
            sprung = next((moment for moment in moments if trap and trap.is_at(step, moment)), None)
            if sprung and trap.skip == 0:
                passes = begin + length if sprung in ("sent", "after") else begin
                self.watch.proxy.pass_on(end, bytes(waiting[:passes]))
                self.watch.trap = None
                trap.action(self)
                trap.is_hit.set()
                del waiting[:]
                return b""
            if sprung:
                trap.skip -= 1
            begin += length
        passed = bytes(waiting[:begin])
        del waiting[:begin]
        return passed

    def close(self):
        self.watch.proxy.close(self.client)


class Kafka(Connection):
    def length_of(self, data, begin):
        return 4 + struct.unpack_from(">i", data, begin)[0] if len(data) >= begin + 4 else 0

    def request(self, frame):
        key, _version, correlation, length = struct.unpack_from(">hhih", frame, 4)
        self.is_ours = frame[14 : 14 + max(length, 0)] == b"manytail"
        trap = self.watch.trap
        if not self.is_ours or not trap or KAFKA[trap.step] != key:
            return None, ()
        if trap.moment in ("withheld", "after"):
            self.awaited.add(correlation)
        return trap.step, ("before", "sent")

    def answer(self, frame):
        correlation = struct.unpack_from(">i", frame, 4)[0]
        trap = self.watch.trap
        if trap and correlation in self.awaited:
            self.awaited.discard(correlation)
            return trap.step, ("withheld", "after")
        return None, ()


class Nats(Connection):
    QUESTIONS = ("STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.CREATE", "CONSUMER.MSG.NEXT")

    def length_of(self, data, begin):
        end = data.find(b"\r\n", begin)
        if end < 0:
            return 0
        words = bytes(data[begin:end]).split()
        length = end + 2 - begin
        if words and words[0].upper() in (b"PUB", b"HPUB", b"MSG", b"HMSG"):
            length += int(words[-1]) + 2
        return length

    def request(self, frame):
        line, _, body = frame.partition(b"\r\n")
        words = line.split()
        verb = words[0].upper()
        if verb == b"CONNECT":
            self.is_ours = json.loads(line[8:]).get("name", "").startswith("manytail-")
            return ("CONNECT" if self.is_ours else None), ("before", "sent")
        if not self.is_ours or verb not in (b"PUB", b"HPUB"):
            return None, ()
        step = self.step_of(words[1].decode(), body)
        trap = self.watch.trap
        has_answer = len(words) > (3 if verb == b"PUB" else 4)
        if trap and trap.step == step and has_answer and trap.moment in ("withheld", "after"):
            self.awaited.add(words[2])
        return step, ("before", "sent")

    def step_of(self, subject, body):
        for question in self.QUESTIONS:
            if subject.startswith(f"$JS.API.{question}."):
                return question
        head = body.partition(b"\r\n\r\n")[0]
        if b"Nats-Batch-Commit:" in head:
            return "commit"
        if b"Nats-Batch-Sequence:" not in head:
            return None
        return "first" if head.partition(b"Nats-Batch-Sequence:")[2].split()[0] == b"1" else "middle"

    def answer(self, frame):
        words = frame.partition(b"\r\n")[0].split()
        trap = self.watch.trap
        if not trap:
            return None, ()
        if words[0] == b"INFO" and self.is_ours is None:
            is_wanted = trap.step == "INFO" and self.client.port in ports_of(self.watch.process())
            return ("INFO" if is_wanted else None), ("withheld", "after")
        # Messages of a consumer come under the subjects that they were stored under.
        is_of_tail = any(word.startswith(b"$JS.ACK.") for word in words[2:])
        if self.is_ours and trap.step == "CONSUMER.MSG.NEXT" and is_of_tail:
            return trap.step, ("withheld", "after")
        if words[0] in (b"MSG", b"HMSG") and words[1] in self.awaited:
            self.awaited.discard(words[1])
            return trap.step, ("withheld", "after")
        return None, ()
