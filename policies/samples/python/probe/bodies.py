"""Does what the actions of a body say."""

import json
import os

from wit_world.imports import log, metadata

import report
from act import sent

# The proxy takes at most this much at once.
WRITE_MAX = 1 << 20


class Passing:
    """A body on its way through, in the instance's so-manieth stage."""

    def __init__(self, reader, writer, calls):
        self.reader = reader
        self.writer = writer
        self.calls = calls
        self.chunks = 0
        self.bytes = 0

    def run(self, actions):
        """Does these, and sends the rest on unless `stop` was there."""
        for action in actions:
            ((name, given),) = action.items()
            if name == "stop":
                return
            getattr(self, "do_" + name)(**given)
        self.do_pass()

    def read(self):
        """The chunks that are left."""
        while (chunk := self.reader.read()) is not None:
            self.chunks += 1
            self.bytes += len(chunk)
            yield chunk

    def write(self, data):
        for start in range(0, len(data), WRITE_MAX):
            self.writer.write(data[start : start + WRITE_MAX])

    def do_pass(self):
        for chunk in self.read():
            self.write(chunk)

    def do_upper(self):
        for chunk in self.read():
            self.write(chunk.upper())

    def do_pass_chunks(self, count):
        # In this order: a chunk that is taken is to be sent.
        for _, chunk in zip(range(count), self.read()):
            self.write(chunk)

    def do_write(self, text):
        self.write(text.encode())

    def do_write_many(self, text, times):
        for _ in range(times):
            self.write(text.encode())

    def do_drop(self):
        for _ in self.read():
            pass

    def do_report(self):
        trailers = self.reader.trailers()
        said = {
            "chunks": self.chunks,
            "bytes": self.bytes,
            "trailers": report.headers(trailers) if trailers else None,
            "calls": self.calls,
        }
        self.write(json.dumps(said).encode())

    def do_set_trailer(self, name, value):
        trailers = self.reader.trailers()
        if trailers:
            trailers.set(name, value.encode())

    def do_log(self, message):
        log.write(log.Level.INFO, message)

    def do_metadata_set(self, key, value):
        metadata.set(key, value.encode())

    def do_write_metadata(self, policy, key):
        self.write(metadata.get(policy, key) or b"")

    def do_annotate(self, key, value):
        log.annotate(key, value)

    def do_write_http(self, cluster, path):
        response, why = sent(cluster, path)
        self.write(why.encode() if response is None else response.body)

    def do_trap(self):
        os.abort()
