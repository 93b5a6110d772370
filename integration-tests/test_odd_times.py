"""Spans whose times cannot be: each is kept, found by its id, and by a search where that can be."""
import time

import pytest

from harness import otlp
from harness.clock import JumpingClock
from harness.tools import need
from harness.waiting import eventually

SECOND = 10**9
LATEST = 2**64 - 1

# Start and end in nanoseconds after now, or as they are; and whether a search of the last hour finds the span.
TIMES = {
    "usual": (-SECOND, 0, True),
    "without an end": (0, None, True),
    "without times": (None, None, True),
    "without a start": (None, 0, True),
    "ends before it starts": (0, -5 * SECOND, True),
    "in the year 2262": (2**63 + 5, 2**63 + 9, False),
    "at the last nanosecond": (LATEST, LATEST, False),
    "from the last nanosecond to none": (LATEST, None, False),
    "in 1970": (1, 2, False),
}


def nanos(now, time_of):
    if time_of is None:
        return 0
    return time_of if time_of > 3600 * SECOND or 0 < time_of < SECOND else now + time_of


@pytest.fixture
def pushed(servers):
    server = servers.start(config={"ingester": {"complete_block_timeout": "100ms", "flush_check_period": "50ms"}})
    now = time.time_ns()
    spans = {}
    for name, (start, end, _) in TIMES.items():
        span = spans[name] = otlp.span(name=name)
        span.start_time_unix_nano, span.end_time_unix_nano = nanos(now, start), nanos(now, end)
        assert server.push(otlp.export(span)).status_code == 200, name
    return server, spans


def found(server):
    """The names of the spans that a search of the last hour finds."""
    now = int(time.time())
    answer = server.get("/api/search", q="{}", start=now - 3600, end=now + 60, limit=100)
    assert answer.status_code == 200, answer.text
    return {trace["rootTraceName"] for trace in answer.json()["traces"]}


def test_spans_of_odd_times_are_kept_and_found(pushed):
    server, spans = pushed
    expected = {name for name, (*_, is_found) in TIMES.items() if is_found}

    def look(stage):
        assert found(server) == expected, stage
        for name, span in spans.items():
            ((_, kept),) = server.trace(span.trace_id.hex())
            assert (kept.get("startTimeUnixNano", "0"), kept.get("endTimeUnixNano", "0")) == (
                str(span.start_time_unix_nano), str(span.end_time_unix_nano)), (stage, name)

    look("live")
    eventually(lambda: list((server.wal / "segments").glob("*/*.seg")), "a segment")
    look("in a segment")
    server.kill()
    server.start()
    look("after a crash")
    server.flush()
    eventually(server.block_directories, "a block")
    eventually(lambda: not list((server.wal / "segments").glob("*/*.seg")), "only the block has them")
    look("in a block")


def test_spans_that_came_while_the_clock_was_not_set_do_not_expire_once_it_is(servers, tmp_path):
    need("cc")
    clock = JumpingClock(tmp_path)
    clock.jump(1000 - int(time.time()))
    server = servers.start(env=clock.env, config={
        "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms", "max_block_duration": "2s"},
        "compactor": {"compaction": {"block_retention": "1h", "compaction_cycle": "1s"}}})
    trace_id = otlp.push_trace(server)
    eventually(server.block_directories, "a block")
    clock.jump(0)
    server.restart()
    rounds = server.metric("tempodb_retention_duration_seconds_count")
    eventually(lambda: server.metric("tempodb_retention_duration_seconds_count") >= rounds + 3, "retention had its turn", 60)
    assert len(server.trace(trace_id)) == 3
    now = int(time.time())
    assert trace_id in server.search("{}", start=now - 600, end=now + 60)
