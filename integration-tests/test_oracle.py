"""Random queries over random traces: the server answers as the plain evaluator in oracle/ does, live and from a block.

TACTUS_ORACLE_SEED=N asks other queries."""
import os
import random
import time

from harness.waiting import eventually
from oracle import ask, cases, data

TRACES, QUERIES = 40, 150


def test_random_queries_are_answered_as_the_rules_say(servers):
    dice = random.Random(int(os.environ.get("TACTUS_ORACLE_SEED", 1)))
    base = (int(time.time()) - 700) * data.SECOND
    traces = data.traces(dice, TRACES, base)
    asked = cases.Cases(dice, traces, base).make(QUERIES)
    # Small row groups: many are left out of a query without being read.
    server = servers.start(config={
        "storage": {"trace": {"block": {"parquet_row_group_size_bytes": 15_000}}},
        "query_frontend": {"metrics": {"query_backend_after": "1s"}, "search": {"max_spans_per_span_set": 0}}})
    for request in data.exports(dice, traces):
        server.must_push(request)
    check(server, asked, len(traces), "live")
    server.flush()
    assert server.block_directories()
    check(server, asked, len(traces), "block")


def check(server, asked, traces, place):
    eventually(lambda: len(server.search("{}")) == traces, f"all traces are found, {place}")
    for path, params, expected in asked:
        got = cases.answer(server, path, params)
        if expected == cases.SEVERAL and got == {"order": []}:
            continue  # a side that no row group can have is not looked at
        found = ask.difference(expected, got)
        assert not found, f"{place}: {path} {params}\n{found}"
