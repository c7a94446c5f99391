#!/usr/bin/env python3
"""Side-by-side benchmark of proxies.

  run.py --peers envoy,nginx,haproxy --scenarios h1_1k,h1_64k --seconds 5 --repeats 3 --json out.json
  run.py --report out.json           only prints the table of an earlier run
  run.py --list

The proxy alone runs on one CPU, the load generator and the backend on another. Peers are interleaved, every other round
backwards (A B C C B A ...). The table gives, for each scenario and figure, each peer's median with min..max, and the median
of its ratios to --base, each within one round: a machine that others slow down slows both.
--json keeps every sample and is added to if it exists, so that a long run can be done in parts.
"""
import argparse
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import measure  # noqa: E402
import peers as P  # noqa: E402
import scenarios as S  # noqa: E402


def fmt(x):
    return f"{x:.0f}" if x >= 1000 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def pooled(samples, scenario, peer, share):
    """A percentile of the latencies of all rounds as if they had been one; None if they were not taken."""
    counts = {}
    for r in samples:
        if (r["scenario"], r["peer"]) == (scenario, peer):
            for us, n in r["figures"].get("latencies_us", ()):
                counts[us] = counts.get(us, 0) + n
    left = sum(counts.values()) * share
    for us in sorted(counts):
        left -= counts[us]
        if left < 0:
            return us
    return None


def table(samples, base, spread=True):
    names, order = [], []
    for r in samples:
        if r["peer"] not in names:
            names.append(r["peer"])
        if r["scenario"] not in order:
            order.append(r["scenario"])
    names.sort(key=lambda n: (list(P.REGISTRY).index(n) if n in P.REGISTRY else 99))
    order.sort(key=lambda n: list(S.SCENARIOS).index(n) if n in S.SCENARIOS else 999)
    out = ["| scenario | figure | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
    for sc in order:
        figs = S.SCENARIOS[sc].figures if sc in S.SCENARIOS else ()
        for fig, better in figs:
            row, vals = [], {}
            for n in names:
                v = {r["round"]: r["figures"][fig] for r in samples if r["scenario"] == sc and r["peer"] == n and fig in r["figures"]}
                if v:
                    vals[n] = v
            if not vals:
                continue
            proxies = [statistics.median(v.values()) for n, v in vals.items() if n not in ("direct", "tcp-relay")]
            best = (min if better == "low" else max)(proxies) if proxies else None
            for n in names:
                if n not in vals:
                    row.append("–")
                    continue
                v = vals[n].values()
                m = statistics.median(v)
                t = f"**{fmt(m)}**" if m == best else fmt(m)
                if spread:
                    t += f" <sub>{fmt(min(v))}..{fmt(max(v))}</sub>"
                ratios = [x / vals[base][at] for at, x in vals[n].items() if at in vals.get(base, ())]
                if ratios:
                    t += f" ({statistics.median(ratios):.2f}×)"
                    if spread and n != base and len(ratios) > 1:
                        t += f" <sub>{min(ratios):.2f}..{max(ratios):.2f}</sub>"
                row.append(t)
            out.append(f"| {sc} | {fig} ({better}) | " + " | ".join(row) + " |")
        whole = {n: pooled(samples, sc, n, 0.99) for n in names}
        if any(whole.values()):
            against = whole.get(base)
            row = ["–" if not x else f"{fmt(x)} ({x / against:.2f}×)" if against else fmt(x) for x in whole.values()]
            out.append(f"| {sc} | p99_us of all rounds as one (low) | " + " | ".join(row) + " |")
    return "\n".join(out)


def attempt(scenario, peer, seconds):
    """The figures of one run, told as they come; None if it could not be done."""
    try:
        figures = S.SCENARIOS[scenario](peer, seconds)
    except measure.Unsupported as e:
        print(f"{scenario:14} {peer.name:16} - ({e})", file=sys.stderr)
        return None
    except Exception as e:
        print(f"{scenario:14} {peer.name:16} FAILED {e}", file=sys.stderr)
        return None
    shown = {k: round(v, 2) for k, v in figures.items() if k in
             ("cpu_us", "user_us", "sys_us", "cpu0_us", "cpu_pct", "rps", "p50_us", "p99_us", "p99_100ms_us", "steal_pct", "rss_mb", "conn_kb", "startup_ms")}
    print(f"{scenario:14} {peer.name:16} {shown}", file=sys.stderr, flush=True)
    return figures


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--peers", default="direct,tcp-relay,envoy,nginx,haproxy,ours")
    a.add_argument("--scenarios", default="h1_1k")
    a.add_argument("--seconds", type=float, default=5)
    a.add_argument("--repeats", type=int, default=3)
    a.add_argument("--json", type=Path)
    a.add_argument("--base", default="envoy")
    a.add_argument("--report", type=Path)
    a.add_argument("--no-spread", action="store_true")
    a.add_argument("--together", action="store_true", help="all peers at once on the one CPU, which is then as fast for each")
    a.add_argument("--list", action="store_true")
    o = a.parse_args()
    if o.list:
        print("peers:    ", ", ".join(P.REGISTRY), "(and BENCH_CMD_<name>)")
        for n, f in S.SCENARIOS.items():
            print(f"  {n:15} {f.__doc__ or ''}")
        return
    if o.report:
        print(table(json.loads(o.report.read_text())["samples"], o.base, not o.no_spread))
        return
    os.sched_setaffinity(0, {measure.LOAD_CPU})
    ps = [P.get(n) for n in o.peers.split(",")]
    names = list(S.SCENARIOS) if o.scenarios == "all" else o.scenarios.split(",")
    for n in names:
        if n not in S.SCENARIOS:
            raise SystemExit(f"unknown scenario {n}; --list shows them")
    data = json.loads(o.json.read_text()) if o.json and o.json.exists() else {"samples": []}
    load1 = os.getloadavg()[0]
    if load1 > 0.7:
        print(f"warning: load average {load1}: figures will be noisy", file=sys.stderr)
    data.setdefault("runs", []).append({"at": time.strftime("%FT%TZ", time.gmtime()), "seconds": o.seconds, "load1": load1,
                                        "kernel": platform.release(), "cpus": os.cpu_count()})
    mine, skip = [], set()
    rounds = 1 + max((r["round"] for r in data["samples"]), default=-1)
    try:
        for sc in names:
            for rep in range(o.repeats):
                todo = [p for p in (ps if rep % 2 == 0 else ps[::-1]) if (sc, p.name) not in skip]
                with ThreadPoolExecutor(len(ps) if o.together else 1) as pool:
                    measured = list(pool.map(lambda p: attempt(sc, p, o.seconds), todo))
                for p, fig in zip(todo, measured):
                    if fig is None:  # one bad run does not end the others
                        if rep == 0:
                            skip.add((sc, p.name))
                        continue
                    r = {"scenario": sc, "peer": p.name, "round": rounds + rep, "at": time.time(), "figures": fig}
                    mine.append(r)
                    data["samples"].append(r)
            if o.json:
                o.json.write_text(json.dumps(data, indent=1))
    finally:
        S.stop_backends()
    print(table(mine, o.base, not o.no_spread))


if __name__ == "__main__":
    main()
