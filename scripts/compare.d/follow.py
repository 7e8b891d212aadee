"""The program the idea began with: a watchdog observer and a dict of offsets. Offsets are in memory only; starts at the end of files.

Call: follow.py DIRECTORY     (prints path, TAB, line for every line that is appended below DIRECTORY)
"""

import os
import sys

from watchdog.events import FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Follower(FileSystemEventHandler):
    def __init__(self, output):
        self.output = output
        self.offsets = {}

    def skip_what_is_there(self, directory):
        for folder, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(folder, name)
                self.offsets[path] = os.path.getsize(path)

    def on_created(self, event):
        self.read(event.src_path)

    def on_modified(self, event):
        self.read(event.src_path)

    def on_moved(self, event):
        self.offsets[event.dest_path] = self.offsets.pop(event.src_path, 0)
        self.read(event.dest_path)

    def on_deleted(self, event):
        self.offsets.pop(event.src_path, None)

    def read(self, path):
        offset = self.offsets.get(path, 0)
        try:
            with open(path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < offset:
                    offset = 0  # truncated
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1  # an unfinished line waits for its end
        self.offsets[path] = offset + end
        if end:
            head = os.fsencode(path) + b"\t"
            self.output.write(b"".join(head + line + b"\n" for line in data[: end - 1].split(b"\n")))
            self.output.flush()


def main():
    follower = Follower(sys.stdout.buffer)
    follower.skip_what_is_there(sys.argv[1])
    observer = Observer()
    # Without a filter every open and close that `read` does would be an event, too.
    wanted = [FileModifiedEvent, FileCreatedEvent, FileMovedEvent, FileDeletedEvent]
    observer.schedule(follower, sys.argv[1], recursive=True, event_filter=wanted)
    observer.start()
    observer.join()


main()
