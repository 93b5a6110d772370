"""Merges over a store that fails, lies, or loses objects: what is there stays answered, nothing half-made is seen."""
import json
import random
import time

from harness.fault_proxy import FaultProxy
from harness.server import merge
from harness.waiting import eventually
from test_compaction import COMPACT, REST, counted, push_blocks


def live_metas(bucket):
    return [json.loads(bucket.get(f"single-tenant/{block}/meta.json")) for block in bucket.blocks()]


def test_store_that_fails_again_and_again_only_delays_merges(servers, bucket, s3_server):
    writer = servers.start("writer", config=merge(REST, bucket.config()))
    pushed = push_blocks(writer, 10)
    seed = random.randrange(2**32)
    print("seed", seed)
    faults = random.Random(seed)
    with FaultProxy(s3_server.port) as proxy:
        config = merge(COMPACT, bucket.config(endpoint=f"127.0.0.1:{proxy.port}"))
        config = merge(config, {"storage": {"trace": {"s3": {
            "retry_max_attempts": 2, "retry_backoff_initial": "10ms", "retry_backoff_max": "50ms"}}}})
        compactor = servers.start("compactor", config=config)
        for _ in range(12):
            mode = faults.choice(["reset", "error", "cut", "refuse"])
            proxy.set(mode, **({"cut_after": faults.randrange(50, 20_000)} if mode == "cut" else {}))
            time.sleep(faults.uniform(0.05, 0.4))
            proxy.set("pass")
            time.sleep(faults.uniform(0.05, 0.3))
        eventually(lambda: all(meta["compactionLevel"] > 0 for meta in live_metas(bucket)), "all is merged", 90)
        for server in (writer, compactor):
            eventually(lambda server=server: server.search("{}") == dict.fromkeys(pushed, 3), "all traces")
            eventually(lambda server=server: counted(server) == 3 * len(pushed), "each span counts once")


def test_objects_that_vanish_or_change_while_blocks_are_merged_cost_no_more_than_themselves(servers, bucket):
    writer = servers.start("writer", config=merge(REST, bucket.config()))
    healthy = push_blocks(writer, 3)
    before = set(bucket.blocks())
    push_blocks(writer, 4)
    victims = sorted(set(bucket.blocks()) - before)
    data = bucket.get(f"single-tenant/{victims[0]}/data.parquet")
    # The footer is twice in the bucket. In small blocks it is most of the file: half of it would still have all pages.
    bucket.put(f"single-tenant/{victims[0]}/data.parquet", data[: len(data) // 8])
    bucket.put(f"single-tenant/{victims[1]}/meta.json", b'{"format": "vParq')
    bucket.client.delete_object(Bucket=bucket.name, Key=f"single-tenant/{victims[2]}/data.parquet")
    flipped = bytearray(bucket.get(f"single-tenant/{victims[3]}/data.parquet"))
    for place in range(100, len(flipped) // 3, 97):
        flipped[place] ^= 0xFF
    bucket.put(f"single-tenant/{victims[3]}/data.parquet", bytes(flipped))
    compactor = servers.start("compactor", config=merge(COMPACT, bucket.config()))
    eventually(lambda: before.isdisjoint(bucket.blocks()), "the healthy blocks are merged", 60)
    found = eventually(lambda: compactor.search("{}"), "an answer")
    assert healthy.items() and set(healthy) <= set(found)
    merged = [meta for meta in live_metas_of(bucket, set(bucket.blocks()) - set(victims))]
    assert [meta["totalObjects"] for meta in merged] == [len(healthy)]
    # Nothing of a damaged block is thrown away: somebody may mend it.
    assert {victims[0], victims[3]} <= set(bucket.blocks())


def live_metas_of(bucket, blocks):
    return [json.loads(bucket.get(f"single-tenant/{block}/meta.json")) for block in blocks]
