"""The disk of the write-ahead log hangs, runs full, or stays full; the wall clock jumps."""
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from harness import otlp
from harness.clients import at_once
from harness.clock import JumpingClock
from harness.disk import Ballast, HangingDisk, push_until_refused
from harness.tools import need
from harness.waiting import eventually

KEEP_LIVE = {"trace_idle_period": "1h", "trace_live_period": "1h"}
CUT_FAST = {"trace_idle_period": "100ms", "flush_check_period": "50ms"}


def start_on(servers, disk, **ingester):
    return servers.start(config={
        "ingester": ingester, "storage": {"trace": {"wal": {"path": str(disk / "wal")}}}})


@pytest.fixture
def hanging_disk(tmp_path):
    with HangingDisk(tmp_path) as disk:
        if disk.refused:
            pytest.skip(disk.refused)
        yield disk


# --- hanging ---------------------------------------------------------------------------------------------------------


def test_hanging_log_disk_refuses_pushes_is_named_and_all_else_goes_on(servers, hanging_disk):
    server = start_on(servers, hanging_disk.path, **KEEP_LIVE, disk_timeout="500ms")
    before = otlp.push_trace(server)
    hanging_disk.hang()
    # Many times the threads that serve connections.
    refused = at_once(lambda _: server.push(otlp.export(*otlp.trace())), 64, 32)
    for response in refused:
        assert response.status_code == 503, response.text
        assert "Retry-After" in response.headers
        assert str(hanging_disk.path) in response.text, response.text

    def not_ready():
        ready = server.get("/ready")
        return ready.status_code == 503 and ready.text

    reason = eventually(not_ready, "it is not ready")
    assert str(hanging_disk.path / "wal") in reason and "does not answer" in reason, reason
    assert server.metric("tactus_ingester_disk_wait_seconds") >= 0.5
    assert server.metric('tactus_ingester_refused_pushes_total{reason="disk_hangs"}') >= 64
    with pytest.raises(grpc.RpcError) as error, otlp.GrpcExporter(server.otlp_grpc_port) as exporter:
        exporter.export(otlp.export(otlp.span()))
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE, error.value
    assert len(server.trace(before)) == 3
    assert server.search("{}") == {before: 3}
    hanging_disk.answer()
    eventually(lambda: server.get("/ready").status_code == 200, "it is ready again")
    after = otlp.push_trace(server)
    server.kill()
    server.start()
    found = server.search("{}")
    assert (found.get(before), found.get(after)) == (3, 3), found


def test_disk_that_hangs_during_a_cut_and_a_flush_lets_both_go_on(servers, hanging_disk):
    server = start_on(servers, hanging_disk.path, **CUT_FAST, disk_timeout="500ms")
    before = otlp.push_trace(server)
    eventually(lambda: list((hanging_disk.path / "wal" / "segments").glob("*/*.seg")), "a segment")
    hanging_disk.hang()
    with ThreadPoolExecutor(1) as pool:
        flush = pool.submit(server.get, "/flush", timeout=60)
        for _ in range(3):
            assert server.get("/ready", timeout=5).status_code in (200, 503)
            assert len(server.trace(before)) == 3
            assert server.metrics()
        hanging_disk.answer()
        assert flush.result().status_code == 204
    assert len(server.trace(before)) == 3
    otlp.push_trace(server)


# --- full ------------------------------------------------------------------------------------------------------------


def test_disk_that_fills_up_is_emptied_into_the_bucket(servers, small_disk):
    server = start_on(servers, small_disk, **KEEP_LIVE)
    accepted, refused = push_until_refused(server, paddings=10, limit=2000)
    assert refused.status_code in (429, 503), refused.content
    assert "Retry-After" in refused.headers and b"disk" in refused.content, refused.content
    assert server.metric('tactus_ingester_refused_pushes_total{reason="disk_full"}') >= 1
    for gauge in ("tactus_ingester_disk_free_bytes", "tactus_ingester_disk_kept_bytes"):
        eventually(lambda gauge=gauge: server.metric(gauge) > 0, gauge)
    # There is room to cut, and blocks take none here.
    server.flush()
    assert not list((small_disk / "wal" / "segments").glob("*/*.seg"))
    accepted.append(otlp.push_trace(server, spans=4))
    assert set(accepted) == set(server.search("{}", limit=len(accepted) + 10))


def test_disk_filled_to_the_last_byte_by_others_is_flushed(servers, small_disk):
    server = start_on(servers, small_disk, **CUT_FAST)
    trace_ids = [otlp.push_trace(server) for _ in range(20)]
    segments = small_disk / "wal" / "segments"
    eventually(lambda: list(segments.glob("*/*.seg")) and not list((small_disk / "wal/log").glob("*.wal")), "a cut")
    ballast = Ballast(small_disk)
    ballast.fill()
    # On its own, too: whichever is first.
    server.flush()
    eventually(lambda: not list(segments.glob("*/*.seg")), "segments are gone")
    assert server.search("{}") == dict.fromkeys(trace_ids, 3)
    ballast.drop()
    eventually(lambda: server.push(otlp.export(otlp.span())).status_code == 200, "pushes are taken again")
    assert len(server.restart().search("{}")) == 21


def test_live_spans_on_a_disk_that_others_filled_wait_for_room_and_that_is_told(servers, small_disk):
    server = start_on(servers, small_disk, **KEEP_LIVE)
    trace_id = otlp.push_trace(server)
    ballast = Ballast(small_disk)
    ballast.fill()

    def refused():
        response = server.push(otlp.export(otlp.span()))
        return response.status_code == 503 and "Retry-After" in response.headers and response.text

    def ready(status):
        answer = server.get("/ready")
        return answer.status_code == status and (answer.text or "ready")

    said = [eventually(refused, "a push is refused"), eventually(lambda: ready(503), "it says so")]
    assert all("bytes of live spans wait to be cut" in text for text in said), said
    # Some pushes may have been taken before the disk was looked at again.
    taken = server.search("{}")
    assert taken[trace_id] == 3
    ballast.drop()
    eventually(lambda: ready(200), "it is ready again, though nobody pushes")
    assert server.push(otlp.export(otlp.span())).status_code == 200
    server.flush()
    assert len(server.search("{}")) == len(taken) + 1


def test_files_that_were_set_aside_count_against_the_limit_of_the_directory(servers):
    server = servers.start(config={"ingester": {**CUT_FAST, "max_disk_bytes": 5_000_000}})
    otlp.push_trace(server)
    aside = server.wal / "quarantine"
    aside.mkdir()
    (aside / "damaged.seg").write_bytes(bytes(6_000_000))

    def refused():
        response = server.push(otlp.export(otlp.span()))
        return response.status_code == 503 and response.text

    assert "no disk space" in eventually(refused, "a push is refused")
    eventually(lambda: server.metric("tactus_ingester_directory_bytes") >= 6_000_000, "the metric says why")
    (aside / "damaged.seg").unlink()
    eventually(lambda: server.push(otlp.export(otlp.span())).status_code == 200, "pushes are taken again")


def test_directory_near_its_limit_is_emptied_into_the_bucket(servers):
    ingester = {**CUT_FAST, "trace_live_period": "500ms", "max_disk_bytes": 3_000_000}
    server = servers.start(config={"ingester": ingester})
    # Twice the limit.
    for _ in range(150):
        request = otlp.export(*(otlp.span(attributes={"padding": os.urandom(400).hex()}) for _ in range(50)))
        eventually(lambda request=request: server.push(request).status_code == 200, "a push is taken, if not at once")
    assert server.block_directories()
    eventually(lambda: server.get("/ready").status_code == 200, "it is ready")


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_log_that_cannot_be_written_is_told_by_ready_and_its_directory_is_made_anew(servers):
    server = servers.start()
    before = otlp.push_trace(server)
    server.flush()
    log = server.wal / "log"
    shutil.rmtree(log)
    log.write_text("in the way")
    refused = server.push(otlp.export(*otlp.trace(3)))
    assert refused.status_code == 503 and "Retry-After" in refused.headers, refused.content
    ready = server.get("/ready")
    assert ready.status_code == 503 and "cannot create" in ready.text and "Not a directory" in ready.text, ready.text
    assert len(server.trace(before)) == 3
    log.unlink()
    after = otlp.push_trace(server)
    assert server.get("/ready").status_code == 200
    assert len(server.trace(after)) == 3
    server.kill()
    server.start()
    assert len(server.trace(before)) == 3 and len(server.trace(after)) == 3


@pytest.mark.parametrize("day", [-86_400, 86_400])
def test_wall_clock_that_jumps_a_day_neither_holds_up_blocks_nor_hastens_them(servers, tmp_path, day):
    need("cc")
    clock = JumpingClock(tmp_path)
    server = servers.start(config={"ingester": {**CUT_FAST, "max_block_duration": "4s"}}, env=clock.env)
    clock.jump(day)
    pushed = time.monotonic()
    trace_id = otlp.push_trace(server)
    eventually(server.block_directories, "a block")
    assert time.monotonic() - pushed >= 4, "before its time"
    assert len(server.trace(trace_id)) == 3
