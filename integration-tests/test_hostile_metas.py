"""A bucket with metas and summaries that claim more than there is, or that become large once they are read, in blocks that nobody merges."""
import contextlib
import json
import os
import time
import uuid
import zlib

import grpc
import pytest
import requests
import zstandard

from harness import otlp
from harness.clients import at_once
from harness.servers import Servers
from harness.streaming import StreamingClient
from harness.waiting import eventually
from test_hostile_blocks import GIGABYTES, alone, ask, looked_at, make, replaced, sparse, start  # noqa: F401
from test_hostile_tenants import HOSTILE, bounded

BLOCKS = 5_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("metas"))
    yield start(servers, compaction_cycle="1h")
    servers.close()


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])


def packed(raw, claimed=None):
    """A part of a summary: length, checksum, zstd."""
    compressed = zstandard.ZstdCompressor(level=19).compress(raw)
    return (claimed or len(raw)).to_bytes(4, "little") + zlib.crc32(compressed).to_bytes(4, "little") + compressed


def values(row_groups, attributes, written):
    """So many attributes without a name or a value."""
    return packed(varint(row_groups) + b"\1\1" + varint(attributes) + bytes(5 * written))


def filters(row_groups):
    body = varint(row_groups) + bytes(2 * row_groups)
    return zlib.crc32(body).to_bytes(4, "little") + body


# Made by the test that needs one: every process imports this file, and they are large.
SUMMARIES = {
    "row groups": lambda: {"values": values(2**32 - 1, 0, 0)},
    "attributes": lambda: {"values": values(1, 12_000_000, 12_000_000)},
    "attributes that are not there": lambda: {"values": values(1, 2**60, 10)},
    "filters": lambda: {"values": values(1, 0, 0), "filter": filters(8_000_000)},
    "a tail": lambda: {"tail": packed(bytes(900 << 20))},
}


@pytest.mark.parametrize("parts", SUMMARIES.values(), ids=SUMMARIES)
def test_summaries_that_become_large_once_they_are_read(server, parts):  # noqa: F811
    made_of = parts()
    parts = {name: made_of.get(name, b"") for name in ("tail", "values", "filter")}
    file = b"".join(parts.values())
    lengths = {name: len(part) for name, part in parts.items()}
    with bounded(server):
        made = [make(server, replaced("tactus-summary", file), tactus={"summary": lengths}) for _ in range(3)]
        looked_at(server, made)
        ask(server)


@pytest.mark.parametrize("part", ["tail", "values", "filter"])
def test_summaries_that_are_as_large_as_their_metas_say(server, part):  # noqa: F811
    with bounded(server):
        lengths = {"tail": 0, "values": 100, "filter": 0, part: GIGABYTES}
        made = [make(server, sparse("tactus-summary", GIGABYTES), tactus={"summary": lengths}) for _ in range(3)]
        looked_at(server, made)
        ask(server)


def test_metas_that_name_the_same_sources_again_and_again(server):  # noqa: F811
    """Of four generations each block names all of the one before: a thousand million ways lead from the last block to the first ones."""
    with bounded(server):
        before = [make(server) for _ in range(180)]
        for level in (1, 2, 3):
            sources = {"tactus": {"sources": before}, "compactionLevel": level}
            before = [make(server, **sources) for _ in range(180 if level < 3 else 2)]
        looked_at(server, before)
        ask(server)


def sources_of(number, count):
    name = str(uuid.uuid4())[8:]
    return {"sources": [f"{number << 20 | source:08x}{name}" for source in range(count)]}


def test_metas_that_name_very_many_sources(server):  # noqa: F811
    """Those of ours name some ten. More than 4096 are not believed."""
    with bounded(server):
        made = [make(server, tactus=sources_of(number, 100_000)) for number in range(100)]
        looked_at(server, made)
        length = 'tempodb_blocklist_length{tenant="hostile"}'
        eventually(lambda: server.metric(length) == 100, "all are listed", 60)
        assert server.metric('tactus_blocklist_skipped_blocks{tenant="hostile",reason="no_room"}') == 0
        ask(server)


def test_metas_that_find_no_room_in_the_list(servers):
    """What they take is bounded in all. Others have room, and who asks for the rest is told that it is not there."""
    started = servers.start(config={"multitenancy_enabled": True, "storage": {"trace": {"blocklist_max_bytes": 8 << 20}}})
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T01:00:00Z"}
    for number in range(60):
        block_id = str(uuid.uuid4())
        meta = {"format": "vParquet4", "blockID": block_id, "tenantID": "hostile", **times, "tactus": sources_of(number, 4_000)}
        (started.blocks / "hostile" / block_id).mkdir(parents=True)
        (started.blocks / "hostile" / block_id / "meta.json").write_text(json.dumps(meta))
    with bounded(started):
        skipped = 'tactus_blocklist_skipped_blocks{tenant="hostile",reason="no_room"}'
        eventually(lambda: started.metrics().get(skipped, 0) > 30, "some are left out", 60)
        answer = started.get("/api/v2/traces/" + "12" * 16, headers=HOSTILE)
        assert answer.headers["x-tactus-partial"] == "true"
        assert "storage.trace.blocklist_max_bytes" in answer.json()["message"]
        assert "storage.trace.blocklist_max_bytes" in started.logs()
    assert started.metric('tactus_blocklist_skipped_blocks{tenant="honest",reason="no_room"}') == 0


def test_long_questions_about_many_blocks(servers):
    """Each of thousands of jobs is of the same query of 100 kB, which is kept once."""
    started = servers.start(config={
        "multitenancy_enabled": True,
        "ingester": {"complete_block_timeout": "100ms", "flush_check_period": "50ms"},
        "compactor": {"compaction": {"compaction_cycle": "1h"}},
        "query_frontend": {"search": {"max_duration": "0s"}, "metrics": {"max_duration": "0s"}},
    })
    assert started.push(otlp.export(otlp.span()), headers=HOSTILE).status_code == 200
    started.flush()
    directory = started.blocks / "hostile"
    eventually(lambda: list(directory.glob("*/meta.json")), "a block")
    good = next(directory.glob("*/meta.json")).parent
    known = json.loads((good / "meta.json").read_text())
    for _ in range(BLOCKS):
        block_id = str(uuid.uuid4())
        (directory / block_id).mkdir()
        for file in good.iterdir():
            if file.name != "meta.json":
                os.link(file, directory / block_id / file.name)
        (directory / block_id / "meta.json").write_text(json.dumps({**known, "blockID": block_id, "tactus": {}}))
    eventually(lambda: started.metric('tempodb_blocklist_length{tenant="hostile"}') > BLOCKS, "all blocks are listed", 60)
    condition = '.a = "' + "x" * 100_000 + '"'
    now = int(time.time())
    asked = [
        ("Search", {"Query": f"{{ {condition} }}", "start": now - 3600, "end": now + 60}),
        ("MetricsQueryRange", {"query": f"{{ {condition} }} | rate()", "start": (now - 3600) * 10**9, "end": (now + 60) * 10**9, "step": 10**11}),
        ("SearchTagValuesV2", {"tagName": "span.b", "query": f"{{ {condition} }}", "start": now - 3600, "end": now + 60}),
    ]

    def ask_once(number):
        method, fields = asked[number % len(asked)]
        with StreamingClient(started.grpc_port, tenant="hostile") as client, contextlib.suppress(grpc.RpcError):
            for _ in client.start(method, timeout=10, **fields):
                pass

    with bounded(started):
        at_once(ask_once, 12, 6)


def test_metas_of_very_many_row_groups(server):  # noqa: F811
    """Of 1 500 blocks, which would be a million jobs of each query."""
    with bounded(server):
        made = [make(server, totalRecords=2**32 - 1, size=2**40) for _ in range(1_500)]
        looked_at(server, made)
        now = int(time.time())
        window = {"start": now - 3600, "end": now + 60}
        paths = ("/api/search?q=%7B.a%3D1%7D", "/api/metrics/query_range?q=%7B.a%3D1%7D%7Crate()&step=1h", "/api/v2/search/tag/span.a/values")

        def ask_once(number):
            path = paths[number % len(paths)]
            with contextlib.suppress(requests.exceptions.Timeout):
                requests.get(server.url + path, params=window, headers=HOSTILE, timeout=10)

        at_once(ask_once, 12, 12)
