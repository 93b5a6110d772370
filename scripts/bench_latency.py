#!/usr/bin/env python3
"""Measures queries of blocks in object storage that takes its time to answer, as S3 does, and prints a table for docs/benchmarks.md.

    scripts/bench_latency.py [--blocks 5] [--milliseconds 30] [--only "metrics: rate"]

Each query is asked on a server that was just started, and twice more; decoded columns and answers are not kept. Needs the optimised
server (TACTUS_BIN) and rustc for the sender. The load is made once and kept in target/bench."""
import argparse
import pathlib
import sys
import tempfile
import threading
import time

import bench
from bench import CONFIG, NOTHING_KEPT, REPOSITORY, S3, Tactus, merge
from harness.fault_proxy import FaultProxy
from qbench import Bench

BLOCK_SECONDS, RATE = 4, 100_000


def write_blocks(folder, bucket, load, sender, blocks):
    """Sends without a pause, and flushes now and then: neighbouring blocks have a few traces in common. Returns the window, and
    ids of traces."""
    begun = int(time.time()) - 5
    server = Tactus(folder, merge(CONFIG, bucket.config())).start()
    arguments = [sender, load, f"127.0.0.1:{server.otlp_http_port}", 2, BLOCK_SECONDS * blocks, server.pid, RATE]
    sending = threading.Thread(target=bench.run, args=arguments, kwargs={"capture_output": True})
    sending.start()
    for _ in range(blocks - 1):
        sending.join(BLOCK_SECONDS)
        server.flush()
    sending.join()
    server.flush()
    window = begun, int(time.time()) + 5
    found = server.get("/api/search", q="{ status = error }", limit=3, start=window[0], end=window[1]).json()["traces"]
    server.stop()
    return window, [trace["traceID"] for trace in found]


def ask(url, name, ids, window, turn):
    """Milliseconds and requests of a query."""
    asked = Bench(url, *window, 1, None)
    by_id = {"trace by id": ids[turn], "trace by id: absent": f"{turn + 1:032x}"}
    if name in by_id:
        path, parameters = f"/api/traces/{by_id[name]}", {}
    else:
        path, parameters = Bench.queries()[name]
        parameters = parameters | asked.window
    before, begun = asked.requests(), time.perf_counter()
    asked.get(path, **parameters)
    return (time.perf_counter() - begun) * 1e3, asked.requests() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--milliseconds", type=float, default=30, help="until the store answers")
    parser.add_argument("--only", nargs="*", default=Bench.names())
    arguments = parser.parse_args()
    load, sender = bench.prepare(REPOSITORY / "target/bench", 110_000)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        store = S3(folder).start()
        try:
            bucket = store.new_bucket()
            window, ids = write_blocks(folder / "writer", bucket, load, sender, arguments.blocks)
            print("| query | ms, first | requests | ms, third | requests |\n|---|---|---|---|---|")
            with FaultProxy(store.port) as proxy:
                proxy.set("some", every=1 << 62, delay=arguments.milliseconds / 1e3)
                for number, name in enumerate(arguments.only):
                    config = merge(merge(CONFIG, NOTHING_KEPT), bucket.config(proxy.port))
                    # No request but those of queries.
                    config = merge(config, {"storage": {"trace": {"blocklist_poll": "10m"}}})
                    server = Tactus(folder / f"reader-{number}", config).start()
                    try:
                        first, _, third = (ask(server.url, name, ids, window, turn) for turn in range(3))
                    finally:
                        server.stop()
                    print(f"| {name} | {first[0]:.0f} | {first[1]:.0f} | {third[0]:.0f} | {third[1]:.0f} |", flush=True)
        finally:
            store.stop()


if __name__ == "__main__":
    main()
