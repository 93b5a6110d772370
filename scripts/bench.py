#!/usr/bin/env python3
"""Measures Tactus with the load and the queries of bench and prints Markdown tables for docs/benchmarks.md.

    scripts/bench.py [--traces 110000] [--rate 40000] [--seconds 50] [--repeats 5] [--blocks 10] [--keep DIR]

Needs the optimised server (TACTUS_BIN), rustc for the sender, and an otherwise idle machine. The load is made once and
kept in target/bench."""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration-tests"))
from harness.paths import BENCH, CONFORMANCE, REPOSITORY  # noqa: E402
from harness.server import Tactus, merge  # noqa: E402
from harness.waiting import eventually  # noqa: E402

# As the benchmark's README asks; time ranges and idle times as people run it. Blocks are merged when that is measured,
# and every query is run, not remembered.
CONFIG = {
    "ingester": {"trace_idle_period": "5s", "flush_check_period": "10s"},
    "query_frontend": {"result_cache_bytes": 0, "metrics": {"query_backend_after": "1s", "max_duration": "24h"}},
    "compactor": {"disabled": True},
}
COMPACT = {"compactor": {"disabled": False, "compaction": {"compaction_cycle": "1s"}}}
CLOCK = os.sysconf("SC_CLK_TCK")


def run(*command, **kwargs):
    return subprocess.run([str(c) for c in command], check=True, text=True, **kwargs)


def paced_parser(description):
    """Arguments of a run that sends at one rate."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=110_000)
    parser.add_argument("--rate", type=int, default=40_000, help="spans a second")
    parser.add_argument("--seconds", type=int, default=50)
    return parser


def prepare(folder, traces):
    """The load file and the sender."""
    folder.mkdir(parents=True, exist_ok=True)
    load, sender = folder / f"load-{traces}.bin", folder / "replay"
    if not load.exists():
        part = load.with_suffix(".part")
        run(sys.executable, CONFORMANCE / "dataset.py", "--seed", 43, "--traces", traces, "--base", 1795150000,
            "--window", 600, "--out", part)
        part.rename(load)
    run("rustc", "--edition", "2024", "-O", BENCH / "replay.rs", "-o", sender)
    return load, sender


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def send(server, load, sender, connections, seconds, rate=None):
    """Pushes for some seconds, then flushes; figures of both."""
    begun, cpu = time.time(), cpu_seconds(server.pid)
    arguments = [sender, load, f"127.0.0.1:{server.otlp_http_port}", connections, seconds, server.pid]
    out = run(*arguments, *([rate] if rate else []), capture_output=True).stdout
    print("   ", out.strip(), file=sys.stderr)
    spans, refused = int(re.search(r"accepted (\d+)", out)[1]), int(re.search(r"refused (\d+)", out)[1])
    per_second = int(re.search(r"= (\d+) spans/s", out)[1])
    received = cpu_seconds(server.pid) - cpu
    pushed_for = time.time() - begun
    # It answers when everything is in storage.
    assert server.get("/flush", timeout=600).status_code == 204
    return {
        "spans": spans, "refused": refused, "spans a second": per_second,
        "CPU to the answer": received / spans * 1e6, "CPU to storage": (cpu_seconds(server.pid) - cpu) / spans * 1e6,
        "flush seconds": time.time() - begun - pushed_for, "peak MiB": server.peak_resident_bytes() >> 20,
        "window": (int(begun) - 60, int(time.time()) + 60),
    }


def ask(server, window, repeats):
    """Median milliseconds of each query."""
    out = run(sys.executable, BENCH / "qbench.py", server.url, *window, repeats, capture_output=True).stdout
    return {name.strip(): float(ms) for name, ms in re.findall(r"^(.*?)\s+([\d.]+) ms", out, re.MULTILINE)}


def grow(server, load, sender, blocks, spans):
    """Pushes as many spans again for each further block; the end of all, in unix seconds."""
    for _ in range(blocks - 1):
        send(server, load, sender, 2, max(spans // 100_000, 1), 100_000)
    return int(time.time()) + 60


def compact(server, spans):
    """Merges all blocks of a stopped server into one; figures of it."""
    server.config = merge(server.config, COMPACT)
    before = server.block_directories()
    server.start()
    idle, begun = cpu_seconds(server.pid), time.time()
    eventually(lambda: len(server.block_directories()) == 1, "one block", 1800, 0.2)
    cpu = (cpu_seconds(server.pid) - idle) / spans * 1e6
    return {"blocks": len(before), "CPU": cpu, "seconds": time.time() - begun,
            "peak MiB": server.peak_resident_bytes() >> 20}


def stored_bytes(server):
    return sum(f.stat().st_size for block in server.block_directories() for f in block.iterdir())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=110_000)
    parser.add_argument("--rate", type=int, default=40_000, help="spans a second of the paced run")
    parser.add_argument("--seconds", type=int, default=50, help="of the paced run")
    parser.add_argument("--fast-seconds", type=int, default=30, help="of the run as fast as it goes")
    parser.add_argument("--repeats", type=int, default=5, help="of each query")
    parser.add_argument("--blocks", type=int, default=10, help="the queries are asked again of so many times the spans")
    parser.add_argument("--keep", help="directory for the data, kept afterwards")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as temporary:
        folder = pathlib.Path(arguments.keep or temporary)
        server = Tactus(folder / "paced", config=CONFIG).start()
        try:
            paced = send(server, load, sender, 2, arguments.seconds, arguments.rate)
            size = stored_bytes(server)
            one = ask(server, paced["window"], arguments.repeats)
            many, merged, stored = {}, {}, len(server.block_directories())
            if arguments.blocks > 1:
                end = grow(server, load, sender, arguments.blocks, paced["spans"])
                many = ask(server, (paced["window"][0], end), arguments.repeats)
                stored = len(server.block_directories())
                server.stop()
                merged = compact(server, paced["spans"] * arguments.blocks)
        finally:
            server.close()
        server = Tactus(folder / "fast", config=CONFIG).start()
        try:
            fast = send(server, load, sender, 4, arguments.fast_seconds)
        finally:
            server.close()
    rows = {
        f"CPU at {arguments.rate:,} spans/s, received to block in storage (s a million spans)": f"{paced['CPU to storage']:.2f}",
        "of that, until the last push was answered": f"{paced['CPU to the answer']:.2f}",
        "highest accepted rate, sender on the same machine (spans/s)": f"{fast['spans a second']:,}",
        "spans refused in that run": f"{fast['refused']:,}",
        "seconds to flush the rest of that run": f"{fast['flush seconds']:.1f}",
        "peak memory of that run (MiB)": f"{fast['peak MiB']:,}",
        f"peak memory at {arguments.rate:,} spans/s (MiB)": f"{paced['peak MiB']:,}",
        "stored bytes a span": f"{size / paced['spans']:.1f}",
    }
    if merged:
        name = f"compaction of {merged['blocks']} blocks into one"
        rows[f"{name} (CPU s a million spans)"] = f"{merged['CPU']:.2f}"
        rows[f"{name}, peak memory of the server (MiB)"] = f"{merged['peak MiB']:,}"
    print("| measure | Tactus |\n|---|---|")
    for measure, figure in rows.items():
        print(f"| {measure} | {figure} |")
    print(f"\nQueries, median of {arguments.repeats}, on {paced['spans']:,} spans, and on {arguments.blocks} times as many in "
          f"{stored} blocks:\n\n| query (ms) | one | all | times |\n|---|---|---|---|")
    for query, ms in one.items():
        print(f"| {query} | {ms} | {many.get(query, '')} | {many[query] / ms:.1f} |" if query in many
              else f"| {query} | {ms} | | |")


if __name__ == "__main__":
    main()
