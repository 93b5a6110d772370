#!/usr/bin/env python3
"""Measures a cluster on this machine (a distributor, three ingesters at replication factor 3, a query-frontend, two queriers)
against the single process, with the load and the queries of bench. Prints Markdown tables for docs/benchmarks.md.

    scripts/bench_cluster.py [--traces 110000] [--rate 10000] [--seconds 60] [--repeats 5] [--config YAML]

Needs the optimised server (TACTUS_BIN), rustc for the sender, and an otherwise idle machine: all processes share it."""
import argparse
import http.client
import os
import pathlib
import statistics
import tempfile
import threading
import time

import bench
import yaml
from bench import REPOSITORY, Tactus, ask, cpu_seconds, merge, prepare, run
from harness import otlp
from harness.cluster import Cluster

# What a cluster in a test does in tenths of seconds, one at work does in seconds.
CALM = merge(bench.CONFIG, {
    "memberlist": {"gossip_interval": "1s", "pull_push_interval": "30s"},
    "ingester": {
        "trace_live_period": "30s", "max_block_duration": "30m", "complete_block_timeout": "15m",
        "lifecycler": {"ring": {"heartbeat_timeout": "1m"}, "heartbeat_timeout": "1m"},
    },
    "ingester_client": {"remote_timeout": "5s"},
    "overrides": {"defaults": {"ingestion": {
        "rate_limit_bytes": 1_000_000_000, "burst_size_bytes": 1_000_000_000, "max_traces_per_user": 0}}},
})
COUNTS = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 2}


def probe(address, stop, times):
    """Pushes one small request after the other, 20 a second, and notes how long each took."""
    connection = http.client.HTTPConnection(address)
    while not stop.is_set():
        body = otlp.export(otlp.span(os.urandom(16))).SerializeToString()
        begun = time.perf_counter()
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            times.append((time.perf_counter() - begun) * 1e3)
        time.sleep(0.05)


def push(target, address, processes, load, sender, arguments):
    """Pushes at a rate and then flushes; CPU seconds a million spans of each process, and the latency of the probe's pushes."""
    begun = {name: cpu_seconds(process.pid) for name, process in processes.items()}
    start, stop, times = int(time.time()), threading.Event(), []
    thread = threading.Thread(target=probe, args=(address, stop, times))
    thread.start()
    out = run(sender, load, address, 2, arguments.seconds, target.pid, arguments.rate, capture_output=True).stdout
    stop.set()
    thread.join()
    spans = int(out.split("accepted ")[1].split()[0])
    answered = {name: (cpu_seconds(process.pid) - begun[name]) / spans * 1e6 for name, process in processes.items()}
    for process in processes.values():
        if process.get("/flush", timeout=600).status_code not in (204, 404):
            raise RuntimeError("flush failed")
    stored = {name: (cpu_seconds(process.pid) - begun[name]) / spans * 1e6 for name, process in processes.items()}
    peak = {name: process.peak_resident_bytes() >> 20 for name, process in processes.items()}
    cuts = statistics.quantiles(times, n=100)
    return {"spans": spans, "answered": answered, "stored": stored, "peak": peak, "p50": cuts[49], "p99": cuts[98],
            "window": (start - 60, int(time.time()) + 60)}


def single(folder, load, sender, arguments):
    server = Tactus(folder / "single", config=merge(CALM, arguments.extra)).start()
    try:
        found = push(server, f"127.0.0.1:{server.otlp_http_port}", {"all": server}, load, sender, arguments)
        return found, ask(server, found["window"], arguments.repeats)
    finally:
        server.close()


def cluster(folder, load, sender, arguments):
    storage = {"storage": {"trace": {
        "backend": "local", "local": {"path": str(folder / "bucket")}, "blocklist_poll": "5s",
        "wal": {"ingestion_time_range_slack": "2h"}}}}
    with Cluster(folder / "cluster", counts=COUNTS, config=merge(CALM, arguments.extra), storage=storage) as nodes:
        nodes.start()
        distributor, frontend = nodes["distributor-0"], nodes["query-frontend-0"]
        address = f"{distributor.address}:{distributor.otlp_http_port}"
        found = push(distributor, address, nodes.nodes, load, sender, arguments)
        return found, ask(frontend, found["window"], arguments.repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=110_000)
    parser.add_argument("--rate", type=int, default=10_000, help="spans a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5, help="of each query")
    parser.add_argument("--config", dest="extra", type=yaml.safe_load, default={}, help="further configuration")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as temporary:
        folder = pathlib.Path(temporary)
        one, one_queries = single(folder, load, sender, arguments)
        many, many_queries = cluster(folder, load, sender, arguments)
    print(f"{arguments.rate:,} spans a second, {many['spans']:,} spans\n")
    print("| process | CPU until the answer (s a million spans) | CPU to storage | peak MiB |\n| --- | --- | --- | --- |")
    for found in (one, many):
        for name in found["answered"]:
            print(f"| {name} | {found['answered'][name]:.2f} | {found['stored'][name]:.2f} | {found['peak'][name]} |")
    total = sum(many["stored"].values())
    print(f"| cluster, all | {sum(many['answered'].values()):.2f} | {total:.2f} | {sum(many['peak'].values())} |\n")
    print("| | single process | cluster |\n| --- | --- | --- |")
    print(f"| push, median (ms) | {one['p50']:.2f} | {many['p50']:.2f} |\n| push, 99 % | {one['p99']:.2f} | {many['p99']:.2f} |")
    for name, (milliseconds, *_) in one_queries.items():
        print(f"| {name} (ms) | {milliseconds:.1f} | {many_queries[name][0]:.1f} |")


if __name__ == "__main__":
    main()
