#!/usr/bin/env python3
"""Asks the queries of bench of many blocks, cold and warm, and prints a Markdown table for docs/benchmarks.md.

    scripts/bench_scale.py [--blocks 100] [--rate 500000] [--seconds 4] [--repeats 3] [--keep DIR]

A block is what is sent in so many seconds, with times of its own and the same trace ids in each: 2.0 million spans. Cold: the server was just started and the
system's cache of files is empty where that is allowed (root); warm: asked again. Answers are not remembered. Needs the optimised server
(TACTUS_BIN), rustc for the sender, 120 MB of disk a block, and an otherwise idle machine."""
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("integration-tests", "bench")]
from bench import CONFIG, REPOSITORY, cpu_seconds, paced_parser, prepare, send, stored_bytes  # noqa: E402
from harness.server import Tactus  # noqa: E402
from qbench import Bench  # noqa: E402


def drop_file_cache():
    """What the system keeps of files is written and forgotten; where that is not allowed, it stays."""
    subprocess.run(["sync"], check=True)
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def fill(server, load, sender, arguments):
    """A block for each push; the window of all, and what they cost."""
    begin, cpu, spans = int(time.time()) - 60, cpu_seconds(server.pid), 0
    for number in range(arguments.blocks):
        pushed = send(server, load, sender, 2, arguments.seconds, arguments.rate)
        assert pushed["refused"] == 0, pushed
        spans += pushed["spans"]
        print(f"block {number + 1} of {arguments.blocks}", file=sys.stderr)
    return (begin, int(time.time()) + 60), spans, (cpu_seconds(server.pid) - cpu) / spans * 1e6


def ask_each(server, window, repeats):
    """Of each query the figures of its first run after a start with nothing in memory, and the median of those after it."""
    cold = {}
    for name in Bench.names():
        server.stop()
        drop_file_cache()
        server.start()
        cold |= {name: figures for name, *figures, _ in Bench(server.url, *window, 1, server.pid, {name}).results()}
    warm = {name: figures for name, *figures, _ in Bench(server.url, *window, repeats, server.pid).results()}
    return cold, warm


def main():
    parser = paced_parser(__doc__)
    parser.set_defaults(rate=500_000, seconds=4)
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="of each query, warm")
    parser.add_argument("--keep", help="directory for the data, kept afterwards")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as temporary:
        server = Tactus(pathlib.Path(arguments.keep or temporary) / "scale", config=CONFIG).start()
        try:
            window, spans, cpu = fill(server, load, sender, arguments)
            blocks, size = len(server.block_directories()), stored_bytes(server)
            ingest_peak = server.peak_resident_bytes() >> 20
            cold, warm = ask_each(server, window, arguments.repeats)
            peak = server.peak_resident_bytes() >> 20
        finally:
            server.close()
    print(f"{spans:,} spans in {blocks} blocks of {size / blocks / 1e6:.0f} MB; ingest {cpu:.2f} CPU s a million spans, {ingest_peak} MiB; "
          f"most memory of the queries {peak:,} MiB\n")
    print("| query | ms, cold | CPU ms, cold | ms, warm | CPU ms, warm |\n|---|---|---|---|---|")
    for name, (ms, cpu_ms, _) in cold.items():
        print(f"| {name} | {ms:.0f} | {cpu_ms:.0f} | {warm[name][0]:.0f} | {warm[name][1]:.0f} |")


if __name__ == "__main__":
    main()
