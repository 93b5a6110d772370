"""A bucket with objects that are none, or not what they say: whatever lies there, an honest tenant's queries are answered."""
import gzip
import json
import os
import shutil
import time
import uuid

import pytest
import requests

from harness import otlp
from harness.servers import Servers
from harness.waiting import eventually
from test_hostile_tenants import HOSTILE, bounded

LATEST = "9999-12-31T23:59:59.999999999Z"


def start(servers, compaction_cycle="1s"):
    """With a good block of the hostile tenant, which others are made of."""
    started = servers.start(config={
        "multitenancy_enabled": True,
        "ingester": {"complete_block_timeout": "100ms", "flush_check_period": "50ms"},
        "overrides": {"defaults": {"global": {"max_bytes_per_trace": 0}}},
        "query_frontend": {"search": {"max_duration": "0s"}, "metrics": {"max_duration": "0s"}},
        "compactor": {"compaction": {"compaction_cycle": compaction_cycle, "compaction_window": "1h"}},
    })
    spans = [otlp.span(name="good", attributes={"number": number}) for number in range(2000)]
    answer = started.push(otlp.export(*spans), headers=HOSTILE)
    assert answer.status_code == 200
    started.flush()
    directory = started.blocks / "hostile"
    eventually(lambda: list(directory.glob("*/meta.json")), "a block")
    started.good = directory.parent.parent / "good"
    shutil.move(next(directory.glob("*/meta.json")).parent, started.good)
    shutil.rmtree(directory)
    started.spans = spans
    return started


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("blocks"))
    yield start(servers)
    servers.close()


@pytest.fixture(autouse=True)
def alone(server):
    """What one test did to the bucket, or to the process, is none of the next one's business."""
    if not server.is_running():
        server.start()
    yield
    shutil.rmtree(server.directory / "made", ignore_errors=True)
    for entry in server.blocks.iterdir():
        if entry.name not in ("honest", "tactus-clock"):
            shutil.rmtree(entry, ignore_errors=True)


def make(server, change=None, **meta):
    """One more block of the hostile tenant, with this in its meta."""
    block_id = str(uuid.uuid4())
    made = server.directory / "made"
    shutil.copytree(server.good, made)
    known = json.loads((made / "meta.json").read_text())
    (made / "meta.json").write_text(json.dumps({**known, "blockID": block_id, **meta}))
    if change:
        change(made)
    target = server.blocks / "hostile" / block_id
    target.parent.mkdir(exist_ok=True)
    made.rename(target)
    return block_id


def sparse(file, size):
    """A file whose end is as it was, with nothing before it."""
    def change(directory):
        path = directory / file
        end = path.read_bytes()[-min(size, 64 << 10):] if size else b""
        path.unlink()
        with path.open("wb") as out:
            out.truncate(size)
            out.seek(size - len(end))
            out.write(end)
    return change


def blooms(size):
    def change(directory):
        for path in directory.glob("bloom-*"):
            sparse(path.name, size)(directory)
    return change


def footer(length, size):
    """The file ends with a footer of so many bytes, as it says."""
    def change(directory):
        with (directory / "data.parquet").open("r+b") as out:
            out.truncate(size)
            out.seek(size - 8)
            out.write(length.to_bytes(4, "little") + b"PAR1")
    return change


def replaced(file, content):
    return lambda directory: (directory / file).write_bytes(content)


GIGABYTES = 3 << 30
LIES = {
    "row groups": {"totalRecords": 2**32 - 1},
    "row groups and size": {"totalRecords": 2**32 - 1, "size": 2**63},
    "size": {"size": 2**64 - 1},
    "another size": {"size": 2**64 - 1, "totalObjects": 2**64 - 1},
    "traces": {"totalObjects": 2**64 - 1},
    "blooms": {"bloomShards": 2**32 - 1},
    "level": {"compactionLevel": 2**32 - 1},
    "footer": {"footerSize": 2**32 - 1},
    "times": {"startTime": LATEST, "endTime": LATEST},
    "early times": {"startTime": "-009999-01-02T01:59:59Z", "endTime": "0001-01-01T00:00:00Z"},
    "all times": {"startTime": "0001-01-01T00:00:00Z", "endTime": LATEST},
    "times the wrong way round": {"startTime": LATEST, "endTime": "0001-01-01T00:00:00Z"},
    "columns": {"dedicatedColumns": [{"s": "span", "n": f"c{number}"} for number in range(20_000)]},
    "sources": {"tactus": {"sources": [str(uuid.uuid4()) for _ in range(20_000)]}},
    "summary": {"tactus": {"summary": {"tail": 2**63, "values": 2**63, "filter": 2**63}}},
    "origins": {"tactus": {"origins": ["0-ffffffffffffffff"]}},
    "nothing": {"size": 0, "totalRecords": 0, "totalObjects": 0, "bloomShards": 0},
}
CHANGES = {
    "large blooms": blooms(GIGABYTES),
    "large summary": sparse("tactus-summary", GIGABYTES),
    "large index": sparse("index", GIGABYTES),
    "large meta": lambda directory: (directory / "meta.json").write_bytes(b" " * (100 << 20)),
    "empty meta": replaced("meta.json", b""),
    "meta of lists": replaced("meta.json", b"[" * (3 << 20)),
    "meta of unknown keys": replaced("meta.json", b'{"tactus":{"a":[' + b"[0]," * (900_000) + b"0]}}"),
    "empty data": replaced("data.parquet", b""),
    "cut data": lambda directory: os.truncate(directory / "data.parquet", 1000),
    "no data": lambda directory: (directory / "data.parquet").unlink(),
    "data that is a directory": lambda directory: ((directory / "data.parquet").unlink(), (directory / "data.parquet").mkdir()),
    "data that is a link to itself": lambda directory: (
        (directory / "data.parquet").unlink(), (directory / "data.parquet").symlink_to("data.parquet")),
    "empty blooms": blooms(0),
    "data that is a pipe": lambda directory: ((directory / "data.parquet").unlink(), os.mkfifo(directory / "data.parquet")),
    "meta that is a pipe": lambda directory: ((directory / "meta.json").unlink(), os.mkfifo(directory / "meta.json")),
    "blooms that are pipes": lambda directory: [(path.unlink(), os.mkfifo(path)) for path in directory.glob("bloom-*")],
    "meta that is compacted too": lambda directory: shutil.copy(directory / "meta.json", directory / "meta.compacted.json"),
}


def ask(server):
    """All kinds of questions, of which none may fail but for the damage."""
    now = int(time.time())
    ranges = [{"start": now - 3600, "end": now + 60}, {"start": 1, "end": 2**32 - 2}, {}]
    known = server.spans[7].trace_id.hex()
    questions = [(f"/api/v2/traces/{known}", {}), ("/api/v2/traces/" + "12" * 16, {}), ("/ui/api/status", {}), ("/metrics", {})]
    for window in ranges:
        questions += [(path, {**window, **params}) for path, params in (
            ("/api/search", {"q": "{ span.number > 3 }", "explain": "true"}), ("/api/search", {"tags": "number=3"}),
            ("/api/search", {"q": '{ span.text = "x" }'}),
            ("/api/v2/search/tags", {}), ("/api/v2/search/tag/span.number/values", {}),
            ("/api/metrics/query_range", {"q": "{ } | rate()", "exemplars": 10, "step": "1h"}),
            ("/api/metrics/query", {"q": "{ } | count_over_time()"}))]
    for path, params in questions:
        answer = requests.get(server.url + path, params=params, headers=HOSTILE, timeout=120)
        expected = (200, 206, 400, 404, 422) if "traces" not in path else (200, 206, 404, 500)
        assert answer.status_code in expected, (path, params, answer.status_code, answer.text[:300])


def looked_at(server, block_ids):
    """The list was read once more since, and compaction had its turn."""
    polls = server.metric("tempodb_blocklist_poll_duration_seconds_count")
    eventually(lambda: server.metric("tempodb_blocklist_poll_duration_seconds_count") >= polls + 2, "two polls", 60)


@pytest.mark.parametrize("meta", LIES.values(), ids=LIES)
def test_meta_that_lies(server, meta):
    with bounded(server):
        made = [make(server, **meta) for _ in range(3)]
        looked_at(server, made)
        ask(server)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_files_that_are_not_what_they_should_be(server, change):
    with bounded(server):
        made = [make(server, change) for _ in range(3)]
        looked_at(server, made)
        ask(server)


def test_footers_that_are_large(server):
    """As the file and its meta say alike."""
    for length in (2 << 30, 2**32 - 1):
        size = 5 << 30
        with bounded(server):
            made = [make(server, footer(length, size), size=size, footerSize=length) for _ in range(3)]
            looked_at(server, made)
            ask(server)


def test_odd_names(server):
    """Tenants, blocks and files that are none, and an index of another tenant."""
    with bounded(server):
        make(server)
        for name in ("...", ".x", "a" * 250, "\u00e4", "a b", "tactus-clock", "a#1"):
            shutil.copytree(server.blocks / "hostile", server.blocks / name)
        hostile = server.blocks / "hostile"
        good = next(hostile.iterdir())
        for name in ("x", str(uuid.uuid4()).upper(), "0" * 36, "11111111-1111-4111-8111-11111111111g", str(uuid.uuid4()) + "x"):
            shutil.copytree(good, hostile / name)
        (hostile / str(uuid.uuid4())).symlink_to(good)
        (hostile / str(uuid.uuid4())).write_text("a file")
        (hostile / "loop").symlink_to(hostile)
        index = {"created_at": "2020-01-01T00:00:00Z", "meta": [json.loads((good / "meta.json").read_text()) | {"tenantID": "other"}]}
        (hostile / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
        (hostile / "index.pb.zst").write_bytes(b"none")
        looked_at(server, [])
        ask(server)
