"""An object store that breaks its promises: nothing acknowledged is lost, memory is bounded, and all is well once it keeps them."""
import base64
import contextlib
import functools
import random
import re
import threading
import uuid

import pytest
import requests

from harness import otlp
from harness.hostile_s3 import XMLNS, HostileS3
from harness.server import merge
from harness.store_tests import FAST, forget_local_data, stored
from harness.waiting import eventually
from test_compaction import COMPACT, REST, counted, push_blocks

MIB = 1 << 20
PEAK = 512 * MIB
CHUNK = b"x" * (2 * MIB)
# An answer "without end" has one, so that a server that takes all of it does not take the machine.
ENOUGH = 700
MODIFIED = "Mon, 23 Nov 2026 22:00:00 GMT"


@pytest.fixture
def store():
    with HostileS3() as running:
        yield running


def config(store, *more):
    return functools.reduce(merge, more, merge(FAST, store.config()))


def asked_range(request):
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range") or "")
    return (int(found[1]), int(found[2])) if found else None


def endless(status, **head):
    return lambda request, answer: answer.endless({"status": status, **head}, CHUNK, ENOUGH) or True


def endless_range(request, answer):
    """More bytes than were asked for, under a head that says otherwise."""
    first, last = asked_range(request)
    return endless(206, Content_Length=str(last - first + 1), Content_Range=f"bytes {first}-{last}/{last + 1000}",
                   ETag='"x"', Last_Modified=MODIFIED)(request, answer)


def whole_object(request, answer):
    """All of a large object, whatever was asked for."""
    answer.send_response(200)
    for name, value in {"Content-Length": str(5 << 30), "ETag": '"x"', "Last-Modified": MODIFIED}.items():
        answer.send_header(name, value)
    answer.end_headers()
    for _ in range(ENOUGH):
        answer.wfile.write(CHUNK)
    answer.close_connection = True
    return True


endless_object = endless(200, Content_Length="100", ETag='"x"', Last_Modified=MODIFIED)


def when(condition, fault):
    return lambda request, answer: condition(request) and fault(request, answer)


def is_listing(request):
    return "list-type" in request.query


def is_range(request):
    return request.method == "GET" and asked_range(request) is not None


def is_object(request):
    return request.method == "GET" and not is_listing(request) and not is_range(request)


ENDLESS = {
    "ranges": when(is_range, endless_range), "whole objects for ranges": when(is_range, whole_object),
    "objects": when(is_object, endless_object), "large objects": when(is_object, whole_object),
    "refusals": when(lambda request: request.method == "GET", endless(400)),
    "errors": when(lambda request: request.method == "GET", endless(500)),
    "not there": when(is_range, endless(404)), "listings": when(is_listing, endless(200)),
}


@pytest.mark.parametrize("fault", ENDLESS)
def test_answers_without_end_cost_no_memory(servers, store, fault):
    server, pushed = stored(servers, store, config(store))
    server.forget_peak()
    store.fault = ENDLESS[fault]
    for path in ("/api/search?q=%7B%20name%20%3D~%20%22chi.*%22%20%7D", f"/api/traces/{next(iter(pushed))}"):
        try:
            answer = requests.get(server.url + path, timeout=40)
            assert answer.status_code == 200 or len(answer.text) < 1100, answer.text[:2000]
        except requests.Timeout:
            pass
    added = otlp.push_trace(server)
    peak = server.peak_resident_bytes()
    print(f"peak {peak // MIB} MiB")
    assert server.is_running() and peak < PEAK, f"{peak // MIB} MiB"
    assert max(map(len, server.logs().splitlines())) < 4000
    store.fault = None
    eventually(lambda: server.search("{}") == {**pushed, added: 3}, "all is well again", 90)


def test_keys_that_no_path_can_have_hide_nothing(servers, store):
    server, pushed = stored(servers, store, config(store))
    server.stop()
    # A folder as consoles make it, and what other programs or people leave behind.
    for key in ("single-tenant/", "single-tenant//x", "single-tenant/../x", "single-tenant/./x", "../x", "./x", "//x",
                "single-tenant/index.json.gz/", "single-tenant/a\x7fb", f"single-tenant/{uuid.uuid4()}//meta.json"):
        store.put(key, b"x")
    store.delete("single-tenant/index.json.gz")
    store.delete("single-tenant/index.pb.zst")
    server.start()
    eventually(lambda: server.search("{}") == pushed, "all traces")
    added = otlp.push_trace(server)
    server.flush()
    eventually(lambda: len(store.blocks()) > 1, "another block")
    server.stop()
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == {**pushed, added: 3}, "all traces, with those of the new block")
    assert "not a valid path" in server.logs()


def test_upload_that_stalled_once_is_sent_again(servers, store):
    server, refused = servers.start(config=config(store)), []

    def stalled(request, answer):
        if request.method != "PUT" or not request.key.endswith("data.parquet") or refused:
            return False
        refused.append(request.key)
        answer.error(400, "RequestTimeout")
        return True

    store.fault = stalled
    otlp.push_trace(server)
    server.flush()
    eventually(store.blocks, "a block")
    assert refused == [f"single-tenant/{store.blocks()[0]}/data.parquet"]
    assert server.metric("tempo_ingester_failed_flushes_total") == 0


def repeated(request, answer):
    """The same page again and again."""
    answer.listing(request, keys=answer.store.keys(request.query.get("prefix", "")), token="again")
    return True


def empty_pages(request, answer):
    answer.listing(request, keys=[], token=str(uuid.uuid4()))
    return True


LISTINGS = {"repeats": repeated, "empty pages": empty_pages}


@pytest.mark.parametrize("fault", LISTINGS)
def test_listing_without_end_is_given_up(servers, store, fault):
    server, pushed = stored(servers, store, config(store))
    server.forget_peak()
    store.fault = when(is_listing, LISTINGS[fault])
    eventually(lambda: "the listing has no end" in server.logs(), "the listing is given up", 60)
    # What was known is still answered for.
    assert server.search("{}") == pushed
    added = otlp.push_trace(server)
    server.flush()
    assert server.peak_resident_bytes() < PEAK
    store.fault = None
    eventually(lambda: server.search("{}") == {**pushed, added: 3}, "all is well again", 60)


def test_store_that_ignores_prefixes_loses_only_what_is_deleted(servers, store):
    """Each listing names everything there is: deleting a block must not delete the bucket."""
    writer = servers.start("writer", config=config(store, REST))
    pushed = push_blocks(writer, 4)
    store.put("other/notes.txt", b"not ours")
    sources = set(store.blocks())

    def everything(request, answer):
        if "delimiter" in request.query:
            return False
        answer.listing(request, keys=answer.store.keys())
        return True

    store.fault = when(is_listing, everything)
    compactor = servers.start("compactor", config=merge(COMPACT, store.config()))
    gone = [f"single-tenant/{block}/data.parquet" for block in sources]
    eventually(lambda: not set(gone) & set(store.keys()), "the sources are deleted", 60)
    assert store.get("other/notes.txt") == b"not ours"
    eventually(lambda: compactor.search("{}") == dict.fromkeys(pushed, 3), "all traces", 30)
    assert counted(compactor) == 3 * len(pushed)


class Forgetful:
    """Says yes to the first write of a file, and forgets it; or keeps other bytes."""

    def __init__(self, file, kept=None):
        self.file, self.kept, self.forgot = file, kept, 0

    def __call__(self, request, answer):
        if request.method != "PUT" or not request.key.endswith(self.file) or self.forgot:
            return False
        self.forgot += 1
        if self.kept:
            answer.store.put(request.key, self.kept(request.body))
        answer.send(200, ETag='"x"')
        return True


LOST = {
    "meta": Forgetful("/meta.json"), "data": Forgetful("/data.parquet"), "bloom filter": Forgetful("/bloom-0"),
    "summary": Forgetful("/tactus-summary"), "half of the data": Forgetful("/data.parquet", lambda body: body[:len(body) // 2]),
    "garbled meta": Forgetful("/meta.json", lambda body: body[:100] + b"\0" + body[101:]),
}


@pytest.mark.parametrize("lost", LOST)
def test_write_that_was_confirmed_and_is_lost_is_noticed_by_a_flush(servers, store, lost):
    server = servers.start(config=config(store, {"ingester": {"complete_block_timeout": "100ms"}}))
    fault = Forgetful(LOST[lost].file, LOST[lost].kept)
    store.fault = fault
    pushed = dict.fromkeys((otlp.push_trace(server) for _ in range(5)), 3)
    server.get("/flush")
    eventually(lambda: fault.forgot, "a write is lost")
    eventually(lambda: server.metric("tempo_ingester_blocks_flushed_total") == 1, "the block is flushed", 60)
    assert server.metric("tempo_ingester_failed_flushes_total") == 1
    assert "does not have it as it was written" in server.logs()
    server.stop()
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == pushed, "all traces from the bucket")
    assert all(len(server.trace(trace)) == 3 for trace in pushed)


def test_block_that_lost_an_object_is_written_again_by_a_flush_that_goes_on(servers, store):
    """Killed when `meta.json` was written: the block seems to be there, and the segments are the last copy."""
    server = servers.start(config=config(store))
    written, release = threading.Event(), threading.Event()

    def hold(request, answer):
        if request.method == "PUT" and request.key.endswith("/meta.json"):
            answer.store.put(request.key, request.body)
            written.set()
            release.wait(60)
            return True
        return False

    store.fault = hold
    pushed = dict.fromkeys((otlp.push_trace(server) for _ in range(5)), 3)
    with contextlib.suppress(requests.RequestException):
        server.get("/flush", timeout=0.5)
    assert written.wait(60)
    server.kill()
    store.fault = None
    release.set()
    (block,) = store.blocks()
    store.delete(f"single-tenant/{block}/data.parquet")
    server.start()
    eventually(lambda: server.metric("tempo_ingester_blocks_flushed_total") == 1, "the block is written again", 60)
    assert "the block is written again" in server.logs()
    eventually(lambda: not server.segments(), "segments go", 60)
    assert server.stop() == 0
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == pushed, "all traces from the bucket")


def test_store_that_never_answers_does_not_hold_up_a_start(servers, store):
    server = servers.start(config=config(store))
    stored_before = otlp.push_trace(server)
    server.flush()
    assert server.stop() == 0
    forget_local_data(server)
    release = threading.Event()
    store.fault = lambda request, answer: release.wait(90)
    server.start(50)
    live = otlp.push_trace(server)
    answer = server.get("/api/search", q="{}")
    assert [trace["traceID"] for trace in answer.json()["traces"]] == [live.lstrip("0")]
    assert answer.headers["X-Tactus-Partial"] == "true"
    store.fault = None
    release.set()
    eventually(lambda: server.search("{}") == {stored_before: 3, live: 3}, "all traces", 60)


@pytest.mark.parametrize("lost", LOST)
def test_write_that_was_confirmed_and_is_lost_is_noticed_by_a_merge(servers, store, lost):
    writer = servers.start("writer", config=config(store, REST))
    pushed = push_blocks(writer, 4)
    writer.stop()
    sources = set(store.blocks())
    fault = Forgetful(LOST[lost].file, LOST[lost].kept)
    store.fault = fault
    compactor = servers.start("compactor", config=merge(COMPACT, store.config()))
    eventually(lambda: fault.forgot, "a write is lost")
    gone = [f"single-tenant/{block}/data.parquet" for block in sources]
    eventually(lambda: not set(gone) & set(store.keys()), "the sources are deleted", 60)
    eventually(lambda: compactor.search("{}") == dict.fromkeys(pushed, 3), "all traces", 30)
    assert all(len(compactor.trace(trace)) == 3 for trace in pushed)
    assert counted(compactor) == 3 * len(pushed)


def test_refusal_within_an_answer_of_success_is_one(servers, store):
    """S3 begins its answer to the end of an upload before it knows how that ends."""
    answers = iter(["InternalError", "EntityTooSmall", "EntityTooSmall"])

    def refuse(request, answer):
        code = next(answers, None) if request.method == "POST" and "uploadId" in request.query else None
        if code:
            answer.send(200, f"<?xml version='1.0'?>\n\n<Error {XMLNS}><Code>{code}</Code></Error>".encode())
        return bool(code)

    store.fault = refuse
    server = servers.start(config=merge(FAST, store.config(part_size=5 * MIB)))

    def span():
        texts = {f"text{number}": base64.b85encode(random.randbytes(1600)).decode() for number in range(16)}
        return otlp.span(name="large", attributes=texts)

    spans = [span() for _ in range(300)]
    for at in range(0, 300, 50):
        server.must_push(otlp.export(*spans[at:at + 50]))
    server.get("/flush", timeout=60)
    eventually(store.blocks, "a block", 60)
    eventually(lambda: server.metric("tempo_ingester_blocks_flushed_total") >= 1, "it is flushed", 60)
    assert server.metric("tempo_ingester_failed_flushes_total") >= 1
    server.flush()
    server.stop()
    forget_local_data(server)
    server.start()
    eventually(lambda: len(server.search("{}")) == 300, "all traces from the bucket")


def flipped(seed, one_in):
    """A network that changes a byte of some answers with an object's bytes, and no length."""
    drawn = random.Random(seed)

    def fault(request, answer):
        body, _ = answer.store.objects.get(request.key, (b"", 0))
        if request.method != "GET" or is_listing(request) or not body or drawn.randrange(one_in):
            return False
        first, last = asked_range(request) or (0, len(body) - 1)
        part = bytearray(body[first:last + 1])
        part[drawn.randrange(len(part))] ^= 1 << drawn.randrange(8)
        head = {"ETag": '"x"', "Last_Modified": MODIFIED}
        if asked_range(request):
            answer.send(206, bytes(part), Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(body)}", **head)
        else:
            answer.send(200, bytes(part), **head)
        return True

    return fault


@pytest.mark.parametrize("file", ["", "/data.parquet"])
def test_bytes_that_change_on_their_way_change_no_answer_and_lose_nothing(servers, store, file):
    writer = servers.start("writer", config=config(store, REST))
    pushed = dict.fromkeys(push_blocks(writer, 6), 3)
    seed = random.randrange(2**32)
    print("seed", seed)
    flip = flipped(seed, 2)
    compactor = servers.start("compactor", config=merge(COMPACT, store.config()))
    store.fault = lambda request, answer: request.key.endswith(file) and flip(request, answer)
    for number in range(30):
        answer = compactor.get("/api/search", q=f'{{ name =~ "chi.*|{number}" }}', limit=100, spss=9)
        if answer.status_code == 200:
            traces = answer.json()["traces"]
            assert all(trace["spanSets"][0]["matched"] == 2 for trace in traces), answer.text
            assert len(traces) == len(pushed) or answer.headers["x-tactus-partial"] == "true", answer.text
    store.fault = None
    compactor.stop()
    compactor.start()
    eventually(lambda: compactor.search("{}") == pushed, "all traces", 60)
    assert counted(compactor) == 3 * len(pushed)


def test_queries_go_on_once_a_store_that_stalled_answers_again(store, servers):
    """Twenty searches of blocks of several row groups wait for the same store: none keeps what another needs to go on."""
    settings = {"querier": {"max_concurrent_queries": 20}, "compactor": {"compaction": {"compaction_cycle": "1h"}},
                "storage": {"trace": {"block": {"parquet_row_group_size_bytes": 40_000}}}}
    server = servers.start(config=config(store, settings))
    for blocks in range(1, 4):
        for _ in range(14):
            spans = [otlp.span(attributes={"a": random.randbytes(500).hex()}) for _ in range(150)]
            assert server.push(otlp.export(*spans)).status_code == 200
        server.flush()
        eventually(lambda blocks=blocks: len(store.blocks()) >= blocks, "the block")
    assert server.stop() == 0
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}"), "spans from the bucket")
    stalls, release = threading.Semaphore(0), threading.Event()

    def stall(request, answer):
        if request.method == "GET" and request.key.endswith("data.parquet"):
            stalls.release()
            release.wait(60)
        return False

    store.fault = stall
    found = []
    ask = lambda number: found.append(len(server.search(f'{{ .a =~ ".*zz{number}.*" }}')))  # noqa: E731
    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(40)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        assert stalls.acquire(timeout=30)
    release.set()
    for thread in threads:
        thread.join(60)
    assert found == [0] * 40
    assert server.stop() == 0
