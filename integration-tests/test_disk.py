"""The disk fails us: full, or with truncated, bit-flipped and foreign files at the start."""
import contextlib
import os
import shutil
import subprocess
import time

import pytest

from harness import answers, otlp
from harness.disk import Ballast, FailingDisk, push_until_refused
from harness.waiting import eventually

KEEP_LIVE = {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}}
CUT_FAST = {"ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"}}


# --- full ------------------------------------------------------------------------------------------------------------


def test_full_log_disk_refuses_pushes_keeps_answering_and_recovers(servers, small_disk):
    server = servers.start(config={**KEEP_LIVE, "storage": {"trace": {"wal": {"path": str(small_disk / "wal")}}}})
    ballast = Ballast(small_disk)
    ballast.fill(leave=5_000_000)
    accepted, refused = push_until_refused(server)
    assert accepted and refused.status_code in (429, 503), refused.content
    assert "Retry-After" in refused.headers, "a full disk may have room again"
    assert b"disk" in refused.content, refused.content

    def is_told():
        # A push is refused for want of the room that it takes; once a second the server looks whether there is any. Who asks
        # after that pushes again.
        ready = server.get("/ready")
        if ready.status_code == 503 and "disk" in ready.text:
            return True
        accepted.extend(push_until_refused(server)[0])

    eventually(is_told, "/ready says that the disk is full")
    assert server.search("{}") == dict.fromkeys(accepted, 4)
    ballast.drop()
    eventually(lambda: server.push(otlp.export(otlp.span())).status_code == 200, "pushes are taken again")
    eventually(lambda: server.get("/ready").status_code == 200, "it is ready again")
    server.kill()
    server.start()
    found = server.search("{}")
    assert {t: found.get(t) for t in accepted} == dict.fromkeys(accepted, 4)
    assert len(found) == len(accepted) + 1, "a refused push came back"


def test_start_on_a_full_disk_serves_what_is_there(servers, small_disk):
    server = servers.start(config={**KEEP_LIVE, "storage": {"trace": {"wal": {"path": str(small_disk / "wal")}}}})
    trace_id = otlp.push_trace(server)
    server.kill()
    ballast = Ballast(small_disk)
    ballast.fill()
    server.spawn()
    # Starting may fail with a clear word, or succeed; both must keep the span.
    eventually(lambda: not server.is_running() or server.get("/ready").status_code == 200, "a decision")
    if server.is_running():
        assert len(server.trace(trace_id)) == 3
        server.kill()
    else:
        assert "No space left" in server.logs()
    ballast.drop()
    server.start()
    assert len(server.trace(trace_id)) == 3


def test_full_block_disk_keeps_spans_local_and_writes_them_later(servers, small_disk):
    server = servers.start(config={
        **CUT_FAST, "storage": {"trace": {"local": {"path": str(small_disk / "blocks")}}}})
    ballast = Ballast(small_disk)
    ballast.fill()
    trace_ids = [otlp.push_trace(server) for _ in range(20)]
    server.get("/flush")
    eventually(lambda: server.metric("tempo_ingester_failed_flushes_total") > 0, "a flush fails")
    assert server.search("{}") == dict.fromkeys(trace_ids, 3)
    assert server.push(otlp.export(otlp.span(name="later"))).status_code == 200
    ballast.drop()
    eventually(lambda: list((small_disk / "blocks").glob("*/*/meta.json")), "the block is written", 60)
    assert server.search('{ name = "root" }') == dict.fromkeys(trace_ids, 1)


# --- damaged log -----------------------------------------------------------------------------------------------------


def log_parts(server):
    return sorted((server.wal / "log").glob("*.wal"))


def pushed_then_killed(servers, traces=30):
    server = servers.start(config=KEEP_LIVE)
    trace_ids = [otlp.push_trace(server) for _ in range(traces)]
    server.kill()
    (part,) = [p for p in log_parts(server) if p.stat().st_size]
    return server, trace_ids, part


def check_prefix(server, trace_ids):
    """A first part of the traces is there, each whole; returns how many. New pushes work."""
    found = server.search("{}")
    assert set(found.values()) <= {3}
    count = len(found)
    assert found.keys() == set(trace_ids[:count]), "not what was pushed first"
    assert len(server.trace(otlp.push_trace(server))) == 3
    return count


def test_log_cut_off_at_any_byte_keeps_what_is_before(servers):
    server, trace_ids, part = pushed_then_killed(servers)
    whole = part.read_bytes()
    state = server.directory / "state"
    shutil.copytree(server.wal, state)
    counts = []
    for keep in (len(whole) - 1, len(whole) - 9, len(whole) * 2 // 3, len(whole) // 2, 11, 3, 0):
        shutil.rmtree(server.wal)
        shutil.rmtree(server.blocks, ignore_errors=True)
        shutil.copytree(state, server.wal)
        part.write_bytes(whole[:keep])
        server.start()
        counts.append(check_prefix(server, trace_ids))
        server.kill()
    assert counts[0] == counts[1] == 29
    assert sorted(counts, reverse=True) == counts and counts[-1] == 0, counts
    assert 0 < counts[3] < counts[2] < 29


def test_flipped_bit_in_the_log_costs_only_what_follows_and_is_reported(servers):
    server, trace_ids, part = pushed_then_killed(servers)
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    part.write_bytes(damaged)
    server.start()
    assert 10 <= check_prefix(server, trace_ids) < 20
    assert server.metric("tactus_ingester_replay_dropped_bytes_total") > 0
    assert [line for line in server.logs().splitlines() if part.stem in line and "level=info" not in line]
    server.restart()
    assert 11 <= len(server.search("{}")) <= 20


def test_foreign_files_in_the_log_are_left_alone(servers):
    server, trace_ids, part = pushed_then_killed(servers)
    directory = part.parent
    foreign = {
        "README.txt": b"hello", "0000000000000000.tmp": os.urandom(100), "9999999999999999.wal": os.urandom(5000),
        "lost+found": None}
    for name, content in foreign.items():
        (directory / name).mkdir() if content is None else (directory / name).write_bytes(content)
    server.start()
    assert check_prefix(server, trace_ids) == 30
    server.restart()
    for name, content in foreign.items():
        assert (directory / name).is_dir() if content is None else (directory / name).read_bytes() == content, name


def test_garbage_under_the_name_of_a_log_part_is_set_aside(servers):
    server, trace_ids, part = pushed_then_killed(servers)
    (part.parent / f"{int(part.stem) + 5:016}.wal").write_bytes(os.urandom(100_000))
    server.start()
    assert check_prefix(server, trace_ids) == 30


# --- damaged segments ------------------------------------------------------------------------------------------------


def two_segments(servers):
    """A stopped server with two segments; (server, ids of the first, ids of the second)."""
    server = servers.start(config=CUT_FAST)
    groups = []
    for number in (1, 2):
        # In one push, or a cut could come between them.
        traces = [otlp.trace(3) for _ in range(10)]
        server.must_push(otlp.export(*(span for spans in traces for span in spans)))
        groups.append([spans[0].trace_id.hex() for spans in traces])
        eventually(lambda: len(server.segments()) == number, "a segment")
    server.kill()
    return server, *groups


@pytest.mark.parametrize("damage", ["truncated", "emptied", "bits flipped", "foreign", "gone"])
def test_damaged_segment_costs_its_spans_only(servers, damage):
    server, first, second = two_segments(servers)
    segment = server.segments()[0]
    content = segment.read_bytes()
    if damage == "gone":
        segment.unlink()
    else:
        step = max(1, len(content) // 50)
        flipped = bytes(byte ^ 0x40 if at % step == 0 else byte for at, byte in enumerate(content))
        segment.write_bytes({
            "truncated": content[: len(content) // 2], "emptied": b"", "bits flipped": flipped,
            "foreign": os.urandom(3000)}[damage])
    server.start()
    found = server.search("{}")
    assert {t: found.get(t) for t in second} == dict.fromkeys(second, 3)
    assert not set(found) - set(first) - set(second)
    for trace_id in second:
        assert len(server.trace(trace_id)) == 3
    if damage != "gone":
        assert list((server.wal / "quarantine").iterdir()), "nothing was set aside"
        assert [line for line in server.logs().splitlines() if "level=error" in line and "segment" in line]
    assert len(server.trace(otlp.push_trace(server))) == 3
    server.flush()
    eventually(server.block_directories, "a block of the good segment")
    assert server.restart().search("{}").keys() >= set(second)


def test_foreign_files_among_the_segments_are_left_alone(servers):
    server, first, second = two_segments(servers)
    directory = server.wal / "segments"
    (directory / "notes.txt").write_text("hello")
    (server.segments()[0].parent / "notes.txt").write_text("hello")
    (directory / ".writing-0000000000000007-0000000000000009").mkdir()
    server.start()
    assert server.search("{}") == dict.fromkeys([*first, *second], 3)
    assert (directory / "notes.txt").exists()


# --- a disk that cannot be read ---------------------------------------------------------------------------------------


@pytest.fixture
def failing_disk(tmp_path):
    with FailingDisk(tmp_path) as disk:
        if disk.refused:
            pytest.skip(disk.refused)
        yield disk


def segment_on(servers, disk):
    """A server whose directory is on a disk; ids of a large segment, of a small one, and the file of the large one."""
    server = servers.start(config={**CUT_FAST, "storage": {"trace": {"wal": {"path": str(disk.path / "wal")}}}})
    segments = disk.path / "wal" / "segments"
    small = otlp.push_trace(server)
    eventually(lambda: len(list(segments.glob("0*/*.seg"))) == 1, "a segment")
    spans = [otlp.trace(4, attributes={"padding": os.urandom(900).hex()}) for _ in range(40)]
    server.must_push(otlp.export(*(span for trace in spans for span in trace)))
    eventually(lambda: len(list(segments.glob("0*/*.seg"))) == 2, "another segment")
    large = max(segments.glob("0*/*.seg"), key=lambda path: path.stat().st_size)
    return server, [trace[0].trace_id.hex() for trace in spans], small, large


def quarantined(disk):
    return [path.name for path in (disk.path / "wal" / "quarantine").glob("*")]


def test_segment_that_the_disk_cannot_read_costs_its_spans_only_at_the_start(servers, failing_disk):
    server, large, small, file = segment_on(servers, failing_disk)
    server.kill()
    failing_disk.fail_from_the_middle_of(file)
    server.start()
    assert len(server.trace(small)) == 3
    assert set(server.search("{}")) == {small}
    assert server.metric('tempo_ingester_replay_errors_total{tenant="single-tenant"}') == 1
    # Perhaps it can be read later.
    assert not quarantined(failing_disk) and file.exists()
    assert server.get("/api/search", q="{}").headers["X-Tactus-Partial"] == "true"
    lines = [line for line in server.logs().splitlines() if "level=error" in line and "Input/output error" in line]
    assert lines and file.parent.name in lines[0], "which segment?"
    assert len(server.trace(otlp.push_trace(server))) == 3
    # All the rest is written.
    flushed = server.get("/flush")
    assert flushed.status_code == 500 and file.parent.name in flushed.text, flushed.text
    assert server.block_directories()
    server.restart()
    assert len(server.trace(small)) == 3 and server.search("{}").keys() & set(large) == set()


def test_segment_that_the_disk_cannot_read_any_more_ends_a_query_and_no_process(servers, failing_disk):
    server, large, small, file = segment_on(servers, failing_disk)
    failing_disk.fail_from_the_middle_of(file)
    now = int(time.time())
    first = server.get("/api/search", q='{ .padding != "" }', start=now - 3600, end=now + 60)
    assert server.is_running()
    # Asked again behind the error, the query frontend hears that they are gone.
    assert first.status_code == 200 and not first.json()["traces"] or file.parent.name in first.text, first.text
    assert any(file.parent.name in line for line in server.logs().splitlines() if "level=error" in line)
    assert set(server.search("{}")) == {small} and len(server.trace(small)) == 3
    assert not quarantined(failing_disk) and file.exists()
    assert server.metric('tempo_ingester_replay_errors_total{tenant="single-tenant"}') == 1
    server.restart()
    assert set(server.search("{}")) == {small}
    assert not set(large) & set(server.search("{}"))


def test_segment_that_is_cut_off_under_the_server_ends_no_process(servers):
    server = servers.start(config={**CUT_FAST, "ingester": {**CUT_FAST["ingester"], "max_segment_column_bytes": 0}})
    spans = [otlp.trace(4, attributes={"padding": os.urandom(900).hex()}) for _ in range(40)]
    server.must_push(otlp.export(*(span for trace in spans for span in trace)))
    eventually(server.segments, "a segment")
    assert len(server.search("{}")) == 40
    os.truncate(server.segments()[0], 5000)
    now = int(time.time())
    server.get("/api/search", q='{ .padding != "" }', start=now - 3600, end=now + 60)
    assert server.is_running() and server.search("{}") == {}
    assert len(server.trace(otlp.push_trace(server))) == 3
    server.flush()
    assert list((server.wal / "quarantine").iterdir())


# --- damaged blocks --------------------------------------------------------------------------------------------------


def two_blocks(servers):
    """A stopped server with two blocks and nothing else; (server, ids and directory of each)."""
    server = servers.start(config=CUT_FAST)
    groups, directories = [], []
    for _ in range(2):
        groups.append([otlp.push_trace(server) for _ in range(10)])
        server.flush()
        eventually(lambda: len(server.block_directories()) == len(groups), "a block")
        directories.append(next(d for d in server.block_directories() if d not in directories))
    server.stop()
    shutil.rmtree(server.wal)
    return server, *zip(groups, directories)


@pytest.mark.parametrize("file", ["data.parquet", "bloom-0", "index", "meta.json"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "bits flipped", "foreign", "gone"])
def test_damaged_block_file_costs_its_block_only(servers, file, damage):
    server, (bad_ids, bad), (good_ids, _) = two_blocks(servers)
    path = bad / file
    content = path.read_bytes()
    step = max(1, len(content) // 200)
    flipped = bytes(byte ^ 0x40 if at % step == 0 else byte for at, byte in enumerate(content))
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({
            "truncated": content[: len(content) // 2], "emptied": b"", "bits flipped": flipped,
            "foreign": os.urandom(3000)}[damage])
    server.start()
    # The good block is answered from, whatever is wrong with the other one.
    eventually(lambda: server.search("{}").keys() >= set(good_ids), "the good block")
    assert server.search("{}").keys() <= {*good_ids, *bad_ids}
    assert len(server.trace(good_ids[0])) == 3
    # A trace of the bad block is never reported as absent while its block is known.
    response = server.get(f"/api/traces/{bad_ids[0]}")
    if response.status_code == 200:
        assert len(answers.spans(response.json())) == 3
    else:
        assert response.status_code == (404 if (file, damage) == ("meta.json", "gone") else 500), response.text
        assert damage == "gone" or bad.name in server.logs(), "which block is damaged?"
    # Nothing else is disturbed, and the block is back when its file is.
    assert server.get("/ready").status_code == 200
    pushed = otlp.push_trace(server)
    assert len(server.trace(pushed)) == 3
    path.write_bytes(content)
    server.restart()
    eventually(lambda: server.search("{}") == dict.fromkeys([*bad_ids, *good_ids, pushed], 3), "all is well again")


def test_foreign_files_in_local_storage_are_left_alone(servers):
    server, (first, directory), (second, _) = two_blocks(servers)
    (server.blocks / "lost+found").mkdir()
    (server.blocks / "notes.txt").write_text("hello")
    (server.blocks / "single-tenant" / "notes.txt").write_text("hello")
    (server.blocks / "single-tenant" / "not-a-block").mkdir()
    (directory / "notes.txt").write_text("hello")
    (server.blocks / "single-tenant" / "33333333-3333-4333-8333-333333333333").mkdir()
    server.start()
    eventually(lambda: server.search("{}") == dict.fromkeys([*first, *second], 3), "both blocks")
    assert (server.blocks / "notes.txt").exists() and (directory / "notes.txt").exists()
