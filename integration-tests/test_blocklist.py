"""The block list: what a bucket may hold besides whole blocks of this release."""
import gzip
import json
import shutil
import uuid

import pytest

from harness.paths import CONFORMANCE
from harness.servers import Servers
from harness.waiting import eventually

TENANT = "single-tenant"
WINDOW = {"start": 1_700_000_000 - 60, "end": 1_700_000_000 + 3600}


@pytest.fixture
def servers(tmp_path):
    servers = Servers(tmp_path)
    yield servers
    servers.close()


def write_meta(directory, **fields):
    """A block directory whose meta is the sample's but for some fields."""
    (sample,) = (CONFORMANCE / "blocks" / "vParquet4").glob("*/*/meta.json")
    meta = {**json.loads(sample.read_text()), "blockID": directory.name, **fields}
    directory.mkdir(exist_ok=True)
    (directory / "meta.json").write_text(json.dumps(meta))


def test_list_survives_what_a_bucket_collects(servers):
    server = servers.new(config={"compactor": {"compaction": {"block_retention": "876000h"}}, "storage": {"trace": {"blocklist_poll": "1s"}}})
    shutil.copytree(CONFORMANCE / "blocks" / "vParquet4", server.blocks)
    for path in [server.blocks, *server.blocks.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    tenant = server.blocks / TENANT
    (meta,) = tenant.glob("*/meta.json")
    source = meta.parent

    def directory():
        return tenant / str(uuid.uuid4())
    # A compactor was killed after it wrote the merged block, and before it marked the source.
    merged = shutil.copytree(source, directory())
    write_meta(merged, compactionLevel=1, tactus={"sources": [source.name]})
    for version in ["v2", "vParquet99"]:
        write_meta(directory(), format=version)
    # As large as a disk, and no more than zeros.
    huge = directory()
    huge.mkdir()
    with open(huge / "meta.json", "wb") as file:
        file.truncate(1 << 40)
    damaged = [huge]
    for text in ["", "{", "[]", source.joinpath("meta.json").read_text()]:
        damaged.append(directory())
        damaged[-1].mkdir()
        (damaged[-1] / "meta.json").write_text(text)
    unfinished = shutil.copytree(source, directory())
    (unfinished / "meta.json").unlink()
    for name in ["not-a-block", ".hidden"]:
        (tenant / name).mkdir()
        (tenant / name / "meta.json").write_text("{}")
    for name in ["overrides", ".snapshots"]:
        shutil.copytree(source, server.blocks / name / source.name)
    (tenant / "index.pb.zst").write_bytes(b"cut")

    server.start()
    found = server.search("{}", **WINDOW)
    assert (len(found), sum(found.values())) == (64, 252)
    answer = server.get("/api/metrics/query_range", q="{} | count_over_time()", step="3660s", **WINDOW).json()
    samples = [sample for series in answer["series"] for sample in series["samples"]]
    assert sum(sample.get("value", 0) for sample in samples) == 252
    samples = server.metrics()
    assert samples[f'tempodb_blocklist_length{{tenant="{TENANT}"}}'] == 4
    skipped = {reason: samples[f'tactus_blocklist_skipped_blocks{{tenant="{TENANT}",reason="{reason}"}}']
               for reason in ["superseded", "unknown_version", "corrupt_meta"]}
    assert skipped == {"superseded": 1, "unknown_version": 2, "corrupt_meta": 5}
    assert samples[f'tempodb_blocklist_poll_errors_total{{tenant="{TENANT}"}}'] == 0
    assert not [name for name in samples if '"overrides"' in name.partition("{")[2].replace('config="overrides"', "") or "snapshots" in name]
    index = json.loads(gzip.decompress((tenant / "index.json.gz").read_bytes()))
    sources = {meta["blockID"]: meta.get("tactus", {}).get("sources") for meta in index["meta"]}
    assert (len(sources), sources[merged.name]) == (4, [source.name])
    assert (tenant / "index.pb.zst").read_bytes()[:4] == bytes.fromhex("28b52ffd")

    # What is missing in the answers nobody knows, so they say that it may be something.
    def is_partial(path, **params):
        return server.get(path, **params).headers.get("X-Tactus-Partial") == "true"
    assert is_partial("/api/search", q="{}", **WINDOW) and is_partial("/api/v2/search/tags", **WINDOW)
    lists = [
        "/jaeger/api/services", "/jaeger/api/v3/services", "/jaeger/api/services/x/operations", "/jaeger/api/operations?service=x",
        "/jaeger/api/v3/operations?service=x", "/jaeger/api/dependencies", "/zipkin/api/v2/services", "/zipkin/api/v2/spans?serviceName=x"]
    assert all(is_partial(path) for path in [*lists, "/jaeger/api/traces/463ac35c9f6413ad"])
    trace = server.get("/api/v2/traces/463ac35c9f6413ad").json()
    assert (trace["status"], trace["message"]) == ("PARTIAL", "the metas of 5 blocks could not be read")
    for block in damaged:
        shutil.rmtree(block)
    eventually(lambda: not is_partial("/api/search", q="{}", **WINDOW), "whole answers")
    assert not any(is_partial(path) for path in lists)
    assert "status" not in server.get("/api/v2/traces/463ac35c9f6413ad").json()


def test_block_that_ends_before_it_starts_is_read_and_kept(servers):
    server = servers.new(config={"storage": {"trace": {"blocklist_poll": "1s"}}})
    shutil.copytree(CONFORMANCE / "blocks" / "vParquet4", server.blocks)
    for path in [server.blocks, *server.blocks.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (meta,) = (server.blocks / TENANT).glob("*/meta.json")
    write_meta(meta.parent, startTime="2099-01-01T00:00:00Z", endTime="0001-01-01T00:00:00Z")
    server.start()
    assert len(server.search("{}", **WINDOW)) == 64
    polls = server.metric("tempodb_blocklist_poll_duration_seconds_count")
    eventually(lambda: server.metric("tempodb_blocklist_poll_duration_seconds_count") >= polls + 3, "three polls")
    assert len(server.search("{}", **WINDOW)) == 64 and meta.exists()


def test_index_that_nobody_writes_any_more_hides_no_block(servers):
    old = {"created_at": "2023-11-14T22:13:20Z", "meta": [], "compacted": []}
    for name, compacts, lists in (("reader", False, True), ("believer", False, False), ("compactor", True, True)):
        server = servers.new(name, config={
            "compactor": {"disabled": not compacts, "compaction": {"block_retention": "876000h"}},
            "storage": {"trace": {"blocklist_poll_fallback": lists}}})
        shutil.copytree(CONFORMANCE / "blocks" / "vParquet4", server.blocks)
        tenant = server.blocks / TENANT
        for path in [server.blocks, *server.blocks.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        (tenant / "index.pb.zst").unlink()
        (tenant / "index.json.gz").write_bytes(gzip.compress(json.dumps(old).encode()))
        server.start()
        # The block that the index does not name is looked for, unless the bucket must not be listed.
        assert bool(server.search("{}", **WINDOW)) == lists
        said = [line for line in server.logs().splitlines() if "tenant index is old" in line]
        assert len(said) == (name == "believer"), server.logs()
        assert not said or "level=warn" in said[0] and f"tenant={TENANT}" in said[0]


def test_tenant_that_is_empty_and_old_is_deleted_where_that_is_asked(servers):
    trace = {"blocklist_poll": "200ms", "empty_tenant_deletion_enabled": True, "empty_tenant_deletion_age": "1s"}
    server = servers.new(config={"storage": {"trace": trace}})
    left = server.blocks / "gone" / str(uuid.uuid4())
    other = server.blocks / "not-ours" / "album"
    for directory in [left, other]:
        directory.mkdir(parents=True)
        (directory / "data.parquet").write_bytes(b"PAR1")
    server.start()
    eventually(lambda: not (server.blocks / "gone").exists(), "the tenant is deleted")
    assert (other / "data.parquet").exists()


def test_index_that_is_made_to_take_memory_takes_little(servers):
    """Some kilobytes that say that there are two million blocks of nobody."""
    server = servers.new(config={"compactor": {"compaction": {"block_retention": "876000h"}}})
    tenant = server.blocks / TENANT
    tenant.mkdir(parents=True)
    # With so many the index is asked for what the metas say.
    for _ in range(40):
        write_meta(tenant / str(uuid.uuid4()), tenantID=TENANT)
    text = b'{"created_at":"2026-01-01T00:00:00Z","meta":[' + b"{}," * 2_000_000 + b'{}],"compacted":null}'
    (tenant / "index.json.gz").write_bytes(gzip.compress(text))
    assert (tenant / "index.json.gz").stat().st_size < 30_000
    server.start()
    eventually(lambda: server.metrics().get('tempodb_blocklist_length{tenant="%s"}' % TENANT) == 40, "the blocks are listed")
    assert server.peak_resident_bytes() < 300 << 20
