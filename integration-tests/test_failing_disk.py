"""The disk of the ingester fails its syncs and writes, delays them by seconds, or becomes read-only: nothing acknowledged is lost."""
import contextlib
import errno
import itertools
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from harness import otlp
from harness.disk_faults import READS, SYNCS, WRITES, BreakingFileSystem, FaultyDisk
from harness.tools import need
from harness.waiting import eventually

CUT_FAST = {"trace_idle_period": "100ms", "flush_check_period": "50ms", "max_block_duration": "1s", "complete_block_timeout": "100ms"}
# The call and the end of the path that a link names fail once, and the link goes.
FAILS_ONCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *call, const char *path) {
    char what[256];
    const char *mark = getenv("FAIL_ONCE");
    ssize_t length = mark && path ? readlink(mark, what, sizeof what - 1) : -1;
    if (length < 0) return 0;
    what[length] = 0;
    char *end = strchr(what, ':');
    if (!end || strncmp(what, call, end - what) || strlen(call) != (size_t)(end - what)) return 0;
    end++;
    size_t all = strlen(path), tail = strlen(end);
    if (all < tail || strcmp(path + all - tail, end) || unlink(mark)) return 0;
    errno = EIO;
    return 1;
}

DIR *opendir(const char *path) {
    static DIR *(*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "opendir");
    return fails("opendir", path) ? NULL : real(path);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list list;
    va_start(list, flags);
    int mode = va_arg(list, int);
    va_end(list);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    return fails("open64", path) ? -1 : real(path, flags, mode);
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
    static int (*real)(int, const char *, int, unsigned, struct statx *);
    if (!real) real = dlsym(RTLD_NEXT, "statx");
    return fails("statx", path) ? -1 : real(dir, path, flags, mask, out);
}
"""
# Each sync of the slow disk takes twice as long as a push waits.
TIMEOUT, SYNC_MILLIS = 0.5, 1_000


@pytest.fixture
def faulty_disk(tmp_path):
    need("cc")
    return FaultyDisk(tmp_path)


@pytest.fixture
def breaking_file_system(tmp_path):
    with BreakingFileSystem(tmp_path) as disk:
        if disk.refused:
            pytest.skip(disk.refused)
        yield disk


def start_on(servers, disk, env=None, fsync_interval="100ms", **ingester):
    return servers.start(env=env, config={
        "ingester": {**CUT_FAST, "disk_timeout": f"{int(TIMEOUT * 1000)}ms", **ingester},
        "storage": {"trace": {"wal": {"path": str(disk.path / "wal"), "fsync_interval": fsync_interval}}}})


class Pushing(threading.Thread):
    """Pushes traces one after the other; remembers which were acknowledged, what was said of others and how long each took."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over = server, threading.Event()
        self.acknowledged, self.refused, self.slowest, self.began = [], [], 0.0, time.monotonic()

    def run(self):
        session = requests.Session()
        while not self.over.is_set():
            spans = otlp.trace(3)
            began = time.monotonic()
            answer = session.post(
                self.server.otlp_url + "/v1/traces", data=otlp.export(*spans).SerializeToString(),
                headers={"Content-Type": "application/x-protobuf"}, timeout=60)
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status_code == 200:
                self.acknowledged.append(spans[0].trace_id.hex())
            else:
                self.refused.append((answer.status_code, answer.headers.get("Retry-After"), answer.text[:300]))
            self.over.wait(0.02)

    def __enter__(self):
        self.start()
        eventually(lambda: self.acknowledged, "a push is taken")
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)

    def goes_on(self):
        """Pushes are taken from now on."""
        known = len(self.acknowledged)
        eventually(lambda: len(self.acknowledged) >= known + 20, "pushes are taken again", 30)


def has_all(server, acknowledged):
    def missing():
        found = server.search("{}", limit=len(acknowledged) + 5_000)
        return [trace for trace in acknowledged if found.get(trace) != 3]

    eventually(lambda: not missing(), "everything acknowledged is found", 30)


def survives(server, pushing):
    """What was acknowledged is found, also after a crash and after it is in blocks."""
    has_all(server, pushing.acknowledged)
    server.kill()
    server.start()
    has_all(server, pushing.acknowledged)
    server.flush()
    has_all(server, pushing.acknowledged)


@pytest.mark.parametrize("fsync_interval", ["100ms", "0s"])
def test_syncs_that_take_seconds_refuse_pushes_in_time_and_hold_up_nothing_else(servers, faulty_disk, fsync_interval):
    server = start_on(servers, faulty_disk, faulty_disk.env, fsync_interval)
    with Pushing(server) as pushing:
        faulty_disk.set(SYNCS, millis=SYNC_MILLIS)
        reasons, slowest = set(), 0.0
        left = time.monotonic() + 8
        while time.monotonic() < left:
            began = time.monotonic()
            ready = server.get("/ready", timeout=10)
            if ready.status_code != 200:
                reasons.add(ready.text)
            assert server.get("/metrics", timeout=10).status_code == 200
            assert len(server.trace(pushing.acknowledged[0])) == 3
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
        print(f"{len(pushing.acknowledged)} taken, {len(pushing.refused)} refused, slowest push {pushing.slowest:.2f} s, others {slowest:.2f} s")
        assert any("does not answer" in reason for reason in reasons), list(reasons)[:5]
        assert {status for status, *_ in pushing.refused} == {503}, pushing.refused[:3]
        assert all(after and str(faulty_disk.path) in text for _, after, text in pushing.refused), pushing.refused[:3]
        assert pushing.slowest < TIMEOUT + 2.5 and slowest < 5, "a busy machine takes a while as well"
        faulty_disk.mend()
        eventually(lambda: server.get("/ready").status_code == 200, "it is ready again", 30)
        pushing.goes_on()
    survives(server, pushing)


@pytest.mark.parametrize("fsync_interval", ["100ms", "0s"])
@pytest.mark.parametrize("calls", [SYNCS, (*SYNCS, *WRITES)], ids=["syncs", "writes too"])
def test_disk_that_fails_for_a_while_loses_nothing_that_was_acknowledged(servers, faulty_disk, calls, fsync_interval):
    server = start_on(servers, faulty_disk, faulty_disk.env, fsync_interval)
    with Pushing(server) as pushing:
        faulty_disk.set(calls, error=errno.EIO)
        eventually(lambda: server.metric("tactus_ingester_log_sync_failures_total") > 2, "syncs fail")
        left = time.monotonic() + 4
        while time.monotonic() < left:
            assert server.get("/metrics", timeout=10).status_code == 200
            assert server.get("/ready", timeout=10).status_code in (200, 503)
            assert len(server.trace(pushing.acknowledged[0])) == 3
            time.sleep(0.1)
        assert {status for status, *_ in pushing.refused} <= {503}, pushing.refused[:3]
        if fsync_interval == "0s":
            # What is to be on the disk before it is acknowledged is not.
            assert pushing.refused and "Input/output error" in pushing.refused[-1][2], pushing.refused[-3:]
            ready = server.get("/ready")
            assert ready.status_code == 503 and "Input/output error" in ready.text, ready.text
        faulty_disk.mend()
        pushing.goes_on()
        eventually(lambda: server.get("/ready").status_code == 200, "it is ready again", 30)
    survives(server, pushing)


def test_bucket_on_a_disk_that_hangs_leaves_threads_to_pushes(servers, faulty_disk):
    """Searches whose clients have left wait for it until it answers."""
    server = servers.start(env=faulty_disk.env, config={
        "ingester": CUT_FAST, "querier": {"column_cache_bytes": 0},
        "storage": {"trace": {"local": {"path": str(faulty_disk.path)}}}})
    for _ in range(3):
        server.push(otlp.export(*(otlp.span(attributes={"number": number}) for number in range(200))))
        server.flush()
    threads = server.threads()
    faulty_disk.set(READS, millis=15_000)
    left = time.monotonic() + 10

    def ask(first):
        for number in itertools.count(first, 60):
            if time.monotonic() > left:
                return
            with contextlib.suppress(requests.RequestException):
                params = {"q": f"{{ .number = {number} && .other = nil }}", "start": 1, "end": 2_000_000_000}
                requests.get(server.url + "/api/search", params, timeout=0.5)
            with contextlib.suppress(requests.RequestException):
                requests.get(server.url + f"/api/traces/{number + 1:032x}", timeout=0.5)

    with Pushing(server) as pushing, ThreadPoolExecutor(60) as clients:
        list(clients.map(ask, range(60)))
        most = server.threads()
        assert not pushing.refused, pushing.refused[:3]
    print(f"{len(pushing.acknowledged)} pushes taken, the slowest in {pushing.slowest:.2f} s; {threads} threads before, {most} since")
    assert pushing.slowest < 5 and most < threads + 250
    faulty_disk.mend()


@pytest.mark.parametrize(
    "call, file", [("statx", "0000000000000001.wal"), ("opendir", "/wal/segments"), ("open64", "/segments.notes")])
def test_read_error_that_passes_at_a_start_loses_nothing(servers, tmp_path, call, file):
    need("cc")
    source, library, mark = tmp_path / "once.c", tmp_path / "once.so", tmp_path / "fail-once"
    source.write_text(FAILS_ONCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    cut = {"trace_idle_period": "100ms", "flush_check_period": "50ms"}
    keep_live = {"trace_idle_period": "1h", "trace_live_period": "1h"}
    server = servers.start(
        config={"ingester": keep_live if call == "statx" else cut}, env={"LD_PRELOAD": str(library), "FAIL_ONCE": str(mark)})

    def is_cut():
        return server.segments() and not list((server.wal / "log").glob("*.wal"))

    trace_ids = [otlp.push_trace(server)]
    if call != "statx":
        eventually(is_cut, "a segment")
    if call == "open64":
        server.flush()
    server.kill()
    mark.symlink_to(f"{call}:{file}")
    server.config["ingester"] = cut
    server.start()
    assert not mark.is_symlink(), "nothing failed"
    assert len(server.trace(trace_ids[0])) == 3
    trace_ids.append(otlp.push_trace(server))
    eventually(is_cut, "another segment")
    assert len(server.trace(trace_ids[1])) == 3
    server.kill()
    server.start()
    assert server.search("{}") == dict.fromkeys(trace_ids, 3)


def test_file_system_that_becomes_read_only_refuses_pushes_and_keeps_what_was_acknowledged(servers, breaking_file_system):
    disk = breaking_file_system
    # What was not synced by then is lost with the file system's memory.
    server = start_on(servers, disk, fsync_interval="0s")
    with Pushing(server) as pushing:
        eventually(lambda: len(pushing.acknowledged) > 50, "traces")
        disk.break_down()
        refused = len(pushing.refused)
        eventually(lambda: len(pushing.refused) > refused + 20, "pushes are refused")
        for status, after, text in pushing.refused:
            assert status == 503 and after and "ead-only file system" in text, (status, after, text)
        ready = server.get("/ready")
        assert ready.status_code == 503 and "ead-only file system" in ready.text, ready.text
        assert server.metrics() and len(server.trace(pushing.acknowledged[0])) == 3
        has_all(server, pushing.acknowledged)
    server.kill()
    disk.mend()
    server.start()
    has_all(server, pushing.acknowledged)
    assert len(server.trace(otlp.push_trace(server))) == 3
    server.flush()
    has_all(server, pushing.acknowledged)
