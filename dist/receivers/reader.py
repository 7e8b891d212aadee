#!/usr/bin/env python3
"""Reads json records from standard input or a unix socket, each once.

manytail run -f json /srv/grid/jobs | reader.py
reader.py /run/manytail/reader.sock     # then: manytail run -f json -o unix:/run/manytail/reader.sock ...
"""
import base64
import json
import os
import socket
import sys


def records(stream):
    """The records of a stream of bytes. A torn one at the end comes again after a reconnect."""
    for raw in stream:
        if raw.endswith(b"\n"):
            record = json.loads(raw)
            if "line" in record:
                # The line's own bytes, where they are not UTF-8.
                record["raw"] = base64.b64decode(record["bytes"]) if "bytes" in record else record["line"].encode()
            yield record


def once(stream, reached):
    """Leaves out what came before. Records of a file come in order, so one number per file is enough."""
    for record in records(stream):
        key, offset = (record.get("host"), record["file"]), record["offset"]
        if "event" in record:
            # What was told of the file before its last line is old. The last end may come twice.
            if offset >= reached.get(key, 0):
                yield record
            continue
        end = offset + len(record["raw"]) + bool(record.get("eol", True))
        if end > reached.get(key, 0):
            reached[key] = end
            yield record


def streams():
    if len(sys.argv) < 2:
        yield sys.stdin.buffer
        return
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(sys.argv[1])
    listener.listen(1)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            yield stream


if __name__ == "__main__":
    seen = {}
    for source in streams():
        for found in once(source, seen):
            print(found["path"], found.get("line") or found.get("event", ""), sep="\t", flush=True)
