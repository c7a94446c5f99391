#!/usr/bin/env python3
"""Counts the instructions a request costs the proxy, and holds them against the figures committed.

The program itself, built under the profile `counted`, runs with one worker under callgrind; a client
and a backend that say always the same are outside of it. A first run does every scenario some times,
and then there is one run for each scenario that does it some times more: the difference has neither
the start nor the end of the process in it. Instructions in user space only, TLS left out, so that the
figures hang neither on the kernel nor on the cryptography a CPU has. Needs valgrind.
"""
import argparse
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FIGURES = HERE / "figures.toml"
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HOSTS, PER_HOST = 100, 10
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: backend\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024
PATIENCE = 120


def resources(backend):
    """A listener, a cluster, a default route, one with header rules, and a thousand others."""
    forward = {"clusters": [{"name": "backend"}]}
    def route(name, match, **more):
        return {"kind": "Route", "name": name, "match": match, "forward": forward, **more}
    field = lambda name: {"name": name, "value": "some value"}
    rules = {
        "request_headers": {"set": [field("x-team"), field("x-region")], "add": [field("x-tag")]},
        "response_headers": {"set": [field("cache-control"), field("x-served")], "remove": ["server"]},
    }
    yield {"kind": "Listener", "name": "web", "address": "127.0.0.1:0", "http": {}}
    yield {"kind": "Cluster", "name": "backend", "endpoints": [{"address": f"127.0.0.1:{backend}"}]}
    yield route("default", {"path": {"prefix": "/"}})
    yield route("ruled", {"path": {"prefix": "/ruled"}}, **rules)
    for host in range(HOSTS):
        for index in range(PER_HOST):
            path = {"exact": f"/shop/item-{index}"} if index % 2 else {"prefix": f"/api/service-{index}"}
            yield route(f"h{host}-{index}", {"hosts": [f"h{host}.example.com"], "path": path})


class Backend:
    """Answers each request with the same, in one write."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        read = b""
        while chunk := connection.recv(65536):
            read += chunk
            head, end, rest = read.partition(b"\r\n\r\n")
            if end and len(rest) >= length_of(head):
                read = b""
                connection.sendall(ANSWER)


def length_of(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class Http1:
    """A connection over HTTP/1.1 that is kept."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, host="example.com", path="/index.html", body=b""):
        method, length = ("POST", f"content-length: {len(body)}\r\n") if body else ("GET", "")
        head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: count/1\r\naccept: */*\r\n{length}\r\n"
        self.socket.sendall(head.encode() + body)
        read = b""
        while True:
            chunk = self.socket.recv(65536)
            assert chunk, "the proxy closed the connection"
            read += chunk
            head, end, rest = read.partition(b"\r\n\r\n")
            if end and len(rest) >= length_of(head):
                assert head.startswith(b"HTTP/1.1 200 ") and len(rest) == 1024, head
                return


class Http2:
    """A connection over HTTP/2 (RFC 9113), one stream at a time."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = 1
        window = self.frame(8, 0, 0, struct.pack(">I", 2**31 - 1 - 65535))
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b"") + window)
        # Literals that enter no table: :method, :scheme, :path, :authority, user-agent.
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/index.html"),
                  (b":authority", b"example.com"), (b"user-agent", b"count/1"), (b"accept", b"*/*")]
        self.block = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields)

    def frame(self, kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def exactly(self, some):
        read = b""
        while len(read) < some:
            chunk = self.socket.recv(some - len(read))
            assert chunk, "the proxy closed the connection"
            read += chunk
        return read

    def ask(self):
        self.socket.sendall(self.frame(1, 5, self.stream, self.block))
        body = 0
        while True:
            head = self.exactly(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            payload = self.exactly(int.from_bytes(head[:3]))
            if kind == 4 and not flags & 1:
                self.socket.sendall(self.frame(4, 1, 0, b""))
            elif kind == 6 and not flags & 1:
                self.socket.sendall(self.frame(6, 1, 0, payload))
            assert kind not in (3, 7), f"the proxy sent RST_STREAM or GOAWAY: {payload}"
            body += len(payload) if kind == 0 else 0
            if kind in (0, 1) and flags & 1:
                assert stream == self.stream and body == 1024, (stream, body)
                self.stream += 2
                return


def get_1k(address, times):
    client = Http1(address)
    for _ in range(times):
        client.ask()


def post_10k(address, times):
    client, body = Http1(address), b"b" * 10240
    for _ in range(times):
        client.ask(body=body)


def routes_1k(address, times):
    client = Http1(address)
    for turn in range(times):
        index = turn % PER_HOST
        path = f"/shop/item-{index}" if index % 2 else f"/api/service-{index}/users/7"
        client.ask(f"h{turn * 7 % HOSTS}.example.com", path)


def header_rules(address, times):
    client = Http1(address)
    for _ in range(times):
        client.ask(path="/ruled/index.html")


def h2_get_1k(address, times):
    client = Http2(address)
    for _ in range(times):
        client.ask()


SCENARIOS = [get_1k, post_10k, routes_1k, header_rules, h2_get_1k]


def run(program, times):
    """Instructions of one process that serves each scenario this many times."""
    backend = Backend()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "resources").mkdir()
        (folder / "resources" / "all.json").write_text(json.dumps(list(resources(backend.port))))
        errors = (folder / "errors").open("w+")
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program,
             "--resources", folder / "resources", "--state", folder / "state", "--admin", "127.0.0.1:0",
             "--workers", "1", "--log", "error"], stdin=subprocess.DEVNULL, stderr=errors)
        try:
            address = listening(process, folder / "state" / "addresses.json")
            for scenario in SCENARIOS:
                scenario(address, times[scenario.__name__])
            process.send_signal(signal.SIGTERM)
            status = process.wait(PATIENCE)
        except BaseException:
            process.kill()
            errors.seek(0)
            sys.stderr.write(errors.read())
            raise
        errors.seek(0)
        said = errors.read()
    counted = [line.split(":")[1] for line in said.splitlines() if "Collected :" in line]
    if status or not counted:
        sys.exit(f"the proxy under valgrind ended with {status}:\n{said}")
    return int(counted[0])


def listening(process, file):
    """Where the listener is, once it is there."""
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE:
        if process.poll() is not None:
            raise RuntimeError(f"the proxy under valgrind ended with {process.returncode}")
        try:
            host, port = json.loads(file.read_text())["listeners"]["web"].rsplit(":", 1)
            return host, int(port)
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    raise RuntimeError("the proxy under valgrind does not listen")


def measure(program, some, more):
    """Instructions per request, by scenario."""
    names = [scenario.__name__ for scenario in SCENARIOS]
    least = dict.fromkeys(names, some)
    plans = [least] + [{**least, name: some + more} for name in names]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        base, *totals = pool.map(lambda plan: run(program, plan), plans)
    return {name: round((total - base) / more) for name, total in zip(names, totals)}


def compiler():
    """The version of the compiler, without which figures are not those of the same program."""
    return subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[1]


def accept(measured, tolerance):
    lines = [
        "# Instructions that a request costs the proxy, in user space, under the profile `counted`. Written by",
        "# `make instructions ACCEPT=1`. More than the tolerance above them fails `make instructions`.",
        f'arch = "{platform.machine()}"', f'rustc = "{compiler()}"', f"tolerance_percent = {tolerance}", "", "[instructions]"]
    lines += [f"{name} = {count}" for name, count in measured.items()]
    FIGURES.write_text("\n".join(lines) + "\n")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", default=str(BUILT / "counted" / "fleetway-proxy"))
    options.add_argument("--some", type=int, default=200, help="requests of each scenario in every run")
    options.add_argument("--more", type=int, default=3000, help="further requests of the scenario counted")
    options.add_argument("--accept", action="store_true", help="write what was counted as the new figures")
    options = options.parse_args()
    known = tomllib.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    here = {"arch": platform.machine(), "rustc": compiler()}
    others = [f"{key} {known[key]}, not {value}" for key, value in here.items() if known.get(key, value) != value]
    if others and not options.accept:
        print(f"the figures are for {', '.join(others)}: nothing to compare with")
        return
    figures, tolerance = known.get("instructions", {}), known.get("tolerance_percent", 3)
    measured = measure(options.program, options.some, options.more)
    worse, better = [], []
    print(f"{'instructions per request':<26}{'figure':>10}{'now':>10}{'change':>10}")
    for name, count in measured.items():
        figure = figures.get(name)
        change = 100 * (count / figure - 1) if figure else 0
        print(f"{name:<26}{figure or '-':>10}{count:>10}" + (f"{change:>+9.1f}%" if figure else ""))
        if figure is None or change > tolerance:
            worse.append(name)
        elif change < -tolerance:
            better.append(name)
    if options.accept:
        accept(measured, tolerance)
        print(f"accepted: commit {FIGURES.relative_to(ROOT)}")
    elif worse:
        sys.exit(f"{', '.join(worse)}: over the figure by more than {tolerance}%. If that is what the change is "
                 "worth: make instructions ACCEPT=1, and commit the figures with it")
    elif better:
        print(f"{', '.join(better)}: under the figure by more than {tolerance}%: make instructions ACCEPT=1 holds it there")


if __name__ == "__main__":
    main()
