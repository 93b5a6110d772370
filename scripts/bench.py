#!/usr/bin/env python3
"""Measures Tactus with the load and the queries of bench and prints Markdown tables for docs/benchmarks.md.

    scripts/bench.py [--traces 110000] [--rate 40000] [--seconds 50] [--repeats 5] [--blocks 10] [--keep DIR] [--record]

Needs the optimised server (TACTUS_BIN), rustc for the sender, and an otherwise idle machine. The load is made once and
kept in target/bench. Processor time, memory, bytes and requests to storage are compared with bench/record.json, what --record
wrote there last; ends with 1 if one is worse by more than a tenth."""
import argparse
import mmap
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("integration-tests", "bench")]
from harness.paths import BENCH, CONFORMANCE, REPOSITORY  # noqa: E402
from harness.s3 import S3  # noqa: E402
from harness.server import Tactus, merge  # noqa: E402
from harness.waiting import eventually  # noqa: E402
from qbench import Bench, cpu_seconds  # noqa: E402
import bench_record  # noqa: E402

# As the benchmark's README asks; time ranges and idle times as people run it. Blocks are merged when that is measured,
# and every query is run, not remembered.
CONFIG = {
    "ingester": {"trace_idle_period": "5s", "flush_check_period": "10s"},
    "query_frontend": {"result_cache_bytes": 0, "metrics": {"query_backend_after": "1s", "max_duration": "24h"}},
    "compactor": {"disabled": True},
}
COMPACT = {"compactor": {"disabled": False, "compaction": {"compaction_cycle": "1s"}}}
NOTHING_KEPT = {"querier": {"column_cache_bytes": 0}}


def run(*command, **kwargs):
    return subprocess.run([str(c) for c in command], check=True, text=True, **kwargs)


def paced_parser(description):
    """Arguments of a run that sends at one rate."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=110_000)
    parser.add_argument("--rate", type=int, default=40_000, help="spans a second")
    parser.add_argument("--seconds", type=int, default=50)
    return parser


def touch_memory():
    """Writes to most of the free memory once. A virtual machine gets its memory from the host at the first touch of each
    page, which costs some 10 microseconds of what counts as processor time of whoever touches it."""
    available = int(re.search(r"^MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)[1]) << 10
    with mmap.mmap(-1, available // 5 * 4) as memory:
        for place in range(0, len(memory), mmap.PAGESIZE):
            memory[place] = 1


def prepare(folder, traces):
    """The load file and the sender, on a machine that has its memory."""
    touch_memory()
    folder.mkdir(parents=True, exist_ok=True)
    load, sender = folder / f"load-{traces}.bin", folder / "replay"
    if not load.exists():
        part = load.with_suffix(".part")
        run(sys.executable, CONFORMANCE / "dataset.py", "--seed", 43, "--traces", traces, "--base", 1795150000,
            "--window", 600, "--out", part)
        part.rename(load)
    run("rustc", "--edition", "2024", "-O", BENCH / "replay.rs", "-o", sender)
    return load, sender


def flush(server):
    """Until everything is in storage: an answer that takes too long is 503, and the flush goes on."""
    while (answer := server.get("/flush", timeout=600)).status_code == 503:
        pass
    assert answer.status_code == 204, answer.text


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
    flush(server)
    return {
        "spans": spans, "refused": refused, "spans a second": per_second,
        "CPU to the answer": received / spans * 1e6, "CPU to storage": (cpu_seconds(server.pid) - cpu) / spans * 1e6,
        "flush seconds": time.time() - begun - pushed_for, "peak MiB": server.peak_resident_bytes() >> 20,
        "window": (int(begun) - 60, int(time.time()) + 60),
    }


def ask(server, window, repeats):
    """Of each query milliseconds, processor milliseconds and requests to storage."""
    return {name: figures for name, *figures, _ in Bench(server.url, *window, repeats, server.pid).results()}


def ask_anew(server, window, repeats):
    """As `ask`, of the same blocks with nothing decoded kept; the server ends with the configuration it had."""
    kept = server.config
    server.stop()
    server.config = merge(kept, NOTHING_KEPT)
    server.start()
    answers = ask(server, window, repeats)
    server.stop()
    server.config = kept
    server.start()
    return answers


def ask_store(server, folder, window):
    """As `ask`, of the same blocks in an S3 server on this machine, with nothing decoded kept."""
    store = S3(folder)
    store.start()
    try:
        bucket = store.new_bucket()
        for path in (path for block in server.block_directories() for path in block.iterdir()):
            bucket.put(str(path.relative_to(server.blocks)), path.read_bytes())
        config = merge(merge(CONFIG, NOTHING_KEPT), bucket.config())
        # Requests of polls are none of a query.
        config = merge(config, {"storage": {"trace": {"blocklist_poll": "10m"}}})
        reader = Tactus(folder / "reader", config=config).start()
        try:
            return ask(reader, window, 2)
        finally:
            reader.close()
    finally:
        store.close()


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
    eventually(lambda: len(server.block_directories()) == 1, "one block, as there is if the load did not go on past a full hour", 600, 0.2)
    cpu = (cpu_seconds(server.pid) - idle) / spans * 1e6
    return {"blocks": len(before), "CPU": cpu, "seconds": time.time() - begun,
            "peak MiB": server.peak_resident_bytes() >> 20}


def stored_bytes(server):
    return sum(f.stat().st_size for block in server.block_directories() for f in block.iterdir())


def measure_queries(server, folder, load, sender, arguments, paced):
    """Answers by blocks and state: on one block and on many, with columns kept, with nothing kept, and of one block in S3."""
    begin, end = paced["window"]
    states = {}
    for blocks in dict.fromkeys((1, arguments.blocks)):
        if blocks > 1:
            end = grow(server, load, sender, blocks, paced["spans"])
        states[blocks, "kept"] = ask(server, (begin, end), arguments.repeats)
        states[blocks, "nothing kept"] = ask_anew(server, (begin, end), arguments.repeats)
        if blocks == 1:
            states[blocks, "S3"] = ask_store(server, folder, (begin, end))
    return states


def print_queries(states, paced):
    for blocks in dict.fromkeys(blocks for blocks, _ in states):
        kept, anew, store = (states.get((blocks, state), {}) for state in ("kept", "nothing kept", "S3"))
        print(f"\nQueries on {paced['spans'] * blocks:,} spans in {blocks} blocks; *kept*: columns are in memory. Milliseconds are medians:\n")
        print("| query | ms, kept | CPU ms, kept | ms, nothing kept | CPU ms, nothing kept | requests to S3 |\n|---|---|---|---|---|---|")
        for query, (ms, cpu, _) in kept.items():
            anew_ms, anew_cpu, _ = anew[query]
            asked = f"{store[query][2]:.0f}" if store else ""
            print(f"| {query} | {ms:.1f} | {cpu:.1f} | {anew_ms:.1f} | {anew_cpu:.1f} | {asked} |")


def recorded_figures(paced, stored, merged, states):
    """What does not depend on how fast the machine is by the hour, by name."""
    figures = {
        "ingest, CPU s/M to the answer": paced["CPU to the answer"],
        "ingest, CPU s/M to storage": paced["CPU to storage"],
        "ingest, peak MiB": paced["peak MiB"],
        "stored bytes a span": stored,
    }
    if merged:
        figures["compaction, CPU s/M"] = merged["CPU"]
    for (blocks, state), answers in states.items():
        for query, (_, cpu, asked) in answers.items():
            if state == "S3":
                figures[f"{query}, requests"] = asked
            else:
                figures[f"{query}, {blocks} blocks, {state}, CPU ms"] = cpu
    return figures


def main():
    parser = paced_parser(__doc__)
    parser.add_argument("--fast-seconds", type=int, default=30, help="of the run as fast as it goes")
    parser.add_argument("--repeats", type=int, default=5, help="of each query")
    parser.add_argument("--blocks", type=int, default=10, help="the queries are asked again of so many times the spans")
    parser.add_argument("--keep", help="directory for the data, kept afterwards")
    parser.add_argument("--record", action="store_true", help="later runs are compared with this one")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as temporary:
        folder = pathlib.Path(arguments.keep or temporary)
        server = Tactus(folder / "paced", config=CONFIG).start()
        try:
            paced = send(server, load, sender, 2, arguments.seconds, arguments.rate)
            stored = stored_bytes(server) / paced["spans"]
            states = measure_queries(server, folder, load, sender, arguments, paced)
            server.stop()
            merged = compact(server, paced["spans"] * arguments.blocks) if arguments.blocks > 1 else {}
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
        "stored bytes a span": f"{stored:.1f}",
    }
    if merged:
        name = f"compaction of {merged['blocks']} blocks into one"
        rows[f"{name} (CPU s a million spans)"] = f"{merged['CPU']:.2f}"
        rows[f"{name}, peak memory of the server (MiB)"] = f"{merged['peak MiB']:,}"
    print("| measure | Tactus |\n|---|---|")
    for measure, figure in rows.items():
        print(f"| {measure} | {figure} |")
    print_queries(states, paced)
    run_as = {"traces": arguments.traces, "rate": arguments.rate, "seconds": arguments.seconds, "blocks": arguments.blocks}
    figures = recorded_figures(paced, stored, merged, states)
    if arguments.record:
        bench_record.write(run_as, figures)
    elif not bench_record.compare(run_as, figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
