"""The wall clock of a process jumps by a day: what is pushed is found by its own times, series go on, recent data is asked for."""
import datetime
import json
import time

import pytest

from harness import otlp
from harness.clock import JumpingClock
from harness.generator import generator, push_calls
from harness.tools import need
from harness.waiting import eventually

DAY = 86_400
CUT_FAST = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms", "max_block_duration": "2s"},
    "storage": {"trace": {"wal": {"ingestion_time_range_slack": "2m"}, "blocklist_poll": "500ms"}},
}

pytestmark = pytest.mark.parametrize("day", [-DAY, DAY])


@pytest.fixture
def clock(tmp_path):
    need("cc")
    return JumpingClock(tmp_path)


def found_by_its_time(server, trace_id):
    now = int(time.time())
    return trace_id in server.search("{}", start=now - 120, end=now + 60)


def test_blocks_are_found_by_the_times_of_their_spans(servers, clock, day):
    server = servers.start(config=CUT_FAST, env=clock.env)
    clock.jump(day)
    trace_id = otlp.push_trace(server)
    assert found_by_its_time(server, trace_id), "while it is recent"
    eventually(server.block_directories, "a block")
    eventually(lambda: not list((server.wal / "segments").glob("*/*.seg")), "only the block has it")
    assert found_by_its_time(server, trace_id)
    assert len(server.trace(trace_id)) == 3


def test_blocks_of_an_ingester_that_starts_with_a_wrong_clock_have_the_times_of_their_spans(servers, clock, day):
    clock.jump(day)
    server = servers.start(config=CUT_FAST, env=clock.env)
    pushed = time.time()
    otlp.push_trace(server)
    (block,) = eventually(server.block_directories, "a block")
    meta = json.loads((block / "meta.json").read_text())
    first, last = (datetime.datetime.fromisoformat(meta[name]).timestamp() for name in ("startTime", "endTime"))
    # And its arrival by that clock, by which blocks expire.
    assert first - 2 < pushed + min(day, 0) and pushed + max(day, 0) < last + 2, (pushed, first, last)


def test_default_range_of_queries_and_of_metrics_stays_the_present(servers, clock, day):
    server = servers.start(config=CUT_FAST, env=clock.env)
    clock.jump(day)
    otlp.push_trace(server)

    def counted():
        return [series.get("value", 0) for series in server.get("/api/metrics/query", q="{ } | count_over_time()").json()["series"]]

    # A span that begins in this very moment is not in the range yet.
    eventually(lambda: counted() == [3], "every span is counted")
    assert server.get("/api/search/tag/name/values", q="{}").json()["tagValues"]


def test_series_go_on_and_no_sample_is_too_old(servers, tmp_path, receiver, clock, day):
    config = generator(tmp_path, [receiver.write_url], metrics_ingestion_time_range_slack="1m")
    remote = config["metrics_generator"]["storage"]["remote_write"][0]
    remote["queue_config"]["sample_age_limit"] = "10m"
    config["metrics_generator"]["registry"]["stale_duration"] = "10m"
    server = servers.start(config=config, env=clock.env)
    calls = {"name": "traces_spanmetrics_calls_total", "service": "bank"}
    push_calls(server, 3)
    eventually(lambda: receiver.latest(**calls) == 3, "series", 40)
    clock.jump(day)
    push_calls(server, 4)
    eventually(lambda: receiver.latest(**calls) == 7, "the series goes on", 40)
    now = time.time() * 1000
    times = [at for series in receiver.samples().values() for at, _ in series]
    assert all(now - 120_000 < at < now + 60_000 for at in times), (min(times) - now, max(times) - now)
    assert server.metric("prometheus_remote_storage_samples_dropped_total") == 0
