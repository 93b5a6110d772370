#!/usr/bin/env python3
"""Looks for a value, a message and a trace that few of many blocks have, and prints a Markdown table for docs/benchmarks.md.

    scripts/bench_needles.py [--blocks 100 1000 10000] [--hits 3] [--traces 2000]

One block without the needles stands for most blocks: the others have an id of their own and its files, by links, so that ten thousand
take little room. Their spans are read of each. Blocks with the needles come first in time. Cold: the server was just started. The
store is the local disk, so that what a request takes is not in the figures. Needs the optimised server (TACTUS_BIN) for figures that mean something, and an otherwise idle machine."""
import argparse
import hashlib
import json
import os
import pathlib
import sys
import tempfile
import time
import uuid

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("integration-tests", "bench")]
from harness import otlp  # noqa: E402
from harness.server import Tactus  # noqa: E402
from harness.waiting import eventually  # noqa: E402
from qbench import Bench, cpu_seconds  # noqa: E402

CONFIG = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"},
    "compactor": {"disabled": True},
    "query_frontend": {"result_cache_bytes": 0},
}
NEEDLE = "order-needle"


def trace_of(name):
    return hashlib.sha256(name.encode()).digest()[:16]


def push(server, names, spans_each):
    """A trace for each name, flushed into a block. Its first span has the name as its order, and in every fourth trace what went wrong."""
    for first in range(0, len(names), 50):
        spans = []
        for number, name in enumerate(names[first:first + 50]):
            root, *rest = [otlp.span(trace_id=trace_of(name), name=f"step-{i}", attributes={"http.route": f"/{i}", "size": number * i})
                           for i in range(spans_each)]
            root.attributes.extend(otlp.key_values({"order.id": name}))
            if number % 4 == 0:
                root.status.code, root.status.message = 2, f"no payment for {name}"
            spans += [root, *rest]
        server.must_push(otlp.export(*spans))
    known = len(server.block_directories())
    server.flush()
    eventually(lambda: len(server.block_directories()) > known, "a block more", 120)


def multiply(block, count):
    """So many blocks with the files of one."""
    meta = json.loads((block / "meta.json").read_text())
    for _ in range(count):
        meta["blockID"] = str(uuid.uuid4())
        copy = block.with_name(meta["blockID"])
        copy.mkdir(mode=0o700)
        for path in block.iterdir():
            if path.name != "meta.json":
                os.link(path, copy / path.name)
        (copy / "meta.json").write_text(json.dumps(meta, separators=(",", ":")))


def questions(window, hits):
    """Path, parameters and what is found of each, by name."""
    def search(query):
        return "/api/search", {"q": query, "limit": 20, **window}

    return {
        "value of `order.id`": (*search(f'{{ span.order.id = "{NEEDLE}" }}'), hits),
        "value of `order.id` that no block has": (*search('{ span.order.id = "order-absent" }'), 0),
        "`span:statusMessage`": (*search(f'{{ span:statusMessage = "no payment for {NEEDLE}" }}'), hits),
        "trace by id": (f"/api/traces/{trace_of(NEEDLE).hex()}", {}, 1),
        "trace that no block has": ("/api/traces/" + "7" * 32, {}, 0),
    }


def ask(bench, server, path, parameters, expected):
    """Milliseconds and processor milliseconds."""
    cpu, begun = cpu_seconds(server.pid), time.perf_counter()
    answer = bench.get(path, **parameters)
    ms = (time.perf_counter() - begun) * 1e3
    cpu = (cpu_seconds(server.pid) - cpu) * 1e3
    if path.startswith("/api/traces/"):
        assert answer.status_code == (200 if expected else 404), answer.text[:200]
    else:
        found = len(answer.json()["traces"])
        assert found == min(expected, 1), (path, parameters, found)
    return ms, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--hits", type=int, default=3, help="blocks with the needles")
    parser.add_argument("--traces", type=int, default=2_000, help="of a block, ten spans each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as temporary:
        server = Tactus(pathlib.Path(temporary) / "needles", config=CONFIG).start()
        try:
            begin = int(time.time()) - 3600
            push(server, [f"order-{number}" for number in range(arguments.traces)], 10)
            (plain,) = server.block_directories()
            for _ in range(arguments.hits):
                push(server, [NEEDLE], 10)
            window, blocks = {"start": begin, "end": int(time.time()) + 3600}, 1
            print("| blocks | query | ms, cold | CPU ms, cold | ms, warm | CPU ms, warm |")
            print("|---|---|---|---|---|---|")
            for count in sorted(arguments.blocks):
                server.stop()
                multiply(plain, count - blocks)
                blocks = count
                for name, question in questions(window, arguments.hits).items():
                    server.start()
                    bench = Bench(server.url, window["start"], window["end"], 1, server.pid)
                    figures = [f"{figure:,.0f}" for _ in range(2) for figure in ask(bench, server, *question)]
                    server.stop()
                    print(f"| {count:,} | {name} | {' | '.join(figures)} |", flush=True)
        finally:
            server.close()


if __name__ == "__main__":
    main()
