"""A proxy between the nodes of a cluster, and between them and their clients.

proxy.py FROM TO: forwards ten ports from FROM on to those from TO on, until its input ends. A line "cut NODE PID" there
makes that node, which is process PID, unreachable in both directions, "mend" ends that; each is answered with a line.

As a network that fails: a connection that is cut is not closed, and what was sent meanwhile arrives when it is mended.
"""
import os
import selectors
import socket
import sys
import threading

CHUNK = 1 << 18
# Of ten ports: those of clients, of controllers or nothing, and of the nodes among themselves.
KINDS = 3
NODES = 3


class End:
    """One end of a connection, and what its peer has sent to it."""

    def __init__(self, stream):
        self.stream = stream
        self.other = None
        self.pending = bytearray()
        self.mask = 0
        # Takes what comes from this end, returns what goes on; None: all of it.
        self.filter = None
        self.node = 0
        # The port of who made the connection; 0 at the end of the node.
        self.port = 0
        self.is_silent = self.is_closed = False


class Proxy(threading.Thread):
    """`observe` gets the number of a node and returns the filters of a client's connection to it: of what the client
    sends, and of what the node answers."""

    def __init__(self, first, target, observe=None):
        super().__init__(daemon=True)
        self.target, self.observe = target, observe
        self.selector = selectors.DefaultSelector()
        self.ends = set()
        self.cut_off = None
        self.commands = []
        self.wake, waker = socket.socketpair()
        self.waker = waker
        self.selector.register(self.wake, selectors.EVENT_READ)
        self.listeners = {}
        for offset in range(1, KINDS * NODES + 1):
            listener = socket.create_server(("127.0.0.1", first + offset))
            listener.setblocking(False)
            self.listeners[listener] = offset
            self.selector.register(listener, selectors.EVENT_READ)

    def cut(self, node, pid):
        self.command(lambda: self.set_cut((node, pid)))

    def mend(self):
        self.command(lambda: self.set_cut(None))

    def command(self, function):
        """Calls the function on the proxy's thread, and waits until it has returned."""
        done = threading.Event()
        self.commands.append((function, done))
        self.waker.send(b"x")
        if not done.wait(30):
            raise TimeoutError("the proxy does not answer")

    def run(self):
        while True:
            for key, mask in self.selector.select():
                if key.fileobj is self.wake:
                    self.wake.recv(1)
                    function, done = self.commands.pop(0)
                    function()
                    done.set()
                elif key.data is None:
                    self.accept(key.fileobj)
                else:
                    if mask & selectors.EVENT_WRITE:
                        self.flush(key.data)
                    if mask & selectors.EVENT_READ:
                        self.read(key.data)

    def accept(self, listener):
        offset = self.listeners[listener]
        try:
            stream, peer = listener.accept()
        except OSError:
            return
        try:
            onward = socket.create_connection(("127.0.0.1", self.target + offset))
        except OSError:
            stream.close()
            return
        client, server = End(stream), End(onward)
        client.other, server.other = server, client
        client.node = server.node = (offset - 1) % NODES + 1
        client.port = peer[1]
        if self.observe and offset <= NODES:
            client.filter, server.filter = self.observe(client, server)
        for end in (client, server):
            end.stream.setblocking(False)
            end.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ends.add(end)
        if self.cut_off:
            self.silence(ports_of(self.cut_off[1]), (client, server))
        self.interest(client)
        self.interest(server)

    def interest(self, end):
        """Reads from an end if its peer has taken all that came before."""
        mask = 0
        if not end.is_silent and not end.is_closed:
            mask |= selectors.EVENT_READ if not end.other.pending else 0
            mask |= selectors.EVENT_WRITE if end.pending else 0
        if mask == end.mask:
            return
        if not end.mask:
            self.selector.register(end.stream, mask, end)
        elif mask:
            self.selector.modify(end.stream, mask, end)
        else:
            self.selector.unregister(end.stream)
        end.mask = mask

    def read(self, end):
        if end.is_closed or end.is_silent or end.other.pending:
            return
        try:
            data = end.stream.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(end)
            return
        self.pass_on(end, end.filter(data) if end.filter else data)

    def pass_on(self, end, data):
        if not end.is_closed:
            end.other.pending += data
            self.flush(end.other)

    def flush(self, end):
        if end.is_closed or end.is_silent:
            return
        try:
            while end.pending:
                del end.pending[: end.stream.send(end.pending)]
        except BlockingIOError:
            pass
        except OSError:
            self.close(end)
            return
        self.interest(end)
        self.interest(end.other)

    def close(self, end):
        for each in (end, end.other):
            if not each.is_closed:
                each.is_closed = True
                if each.mask:
                    self.selector.unregister(each.stream)
                    each.mask = 0
                each.stream.close()
                self.ends.discard(each)

    def set_cut(self, cut_off):
        self.cut_off = cut_off
        if cut_off:
            self.silence(ports_of(cut_off[1]), list(self.ends))
            return
        for end in list(self.ends):
            if end.is_silent:
                end.is_silent = False
                self.flush(end)

    def silence(self, ports, ends):
        """Nothing passes through connections to the node that is cut off, or from it."""
        for end in ends:
            if end.node == self.cut_off[0] or end.port in ports:
                end.is_silent = end.other.is_silent = True
                self.interest(end)
                self.interest(end.other)


def ports_of(pid):
    """The local ports of a process' connections."""
    sockets = set()
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        try:
            name = os.readlink(descriptor.path)
        except OSError:
            continue
        if name.startswith("socket:["):
            sockets.add(name[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[9] in sockets:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def main():
    proxy = Proxy(int(sys.argv[1]), int(sys.argv[2]))
    proxy.start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "cut":
            proxy.cut(*map(int, numbers))
        else:
            proxy.mend()
        print("done", flush=True)


if __name__ == "__main__":
    main()
