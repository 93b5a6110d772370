"""What must hold on every object store: a test file makes a class of StoreTests and a `bucket` fixture."""
import os
import shutil
import time

from . import otlp
from .server import merge
from .waiting import eventually

FAST = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms", "flush_op_timeout": "3s"},
    "storage": {"trace": {"blocklist_poll": "500ms"}},
}
# Every character that a tenant may have and that a URL may not like.
ODD_TENANTS = ["a!b", "a*b", "a'b", "a(b)c", "-_.x!*'()"]


def forget_local_data(server):
    """A new disk: what is found afterwards comes from the bucket."""
    shutil.rmtree(server.wal)
    shutil.rmtree(server.blocks, ignore_errors=True)


def stored(servers, store, config, traces=10, env=None):
    """A server without local data, whose traces are in the bucket, and how many spans a search finds of each."""
    server = servers.start(config=config, env=env)
    pushed = dict.fromkeys((otlp.push_trace(server) for _ in range(traces)), 3)
    server.flush()
    eventually(store.blocks, "a block")
    server.stop()
    forget_local_data(server)
    server.start()
    eventually(lambda: server.search("{}") == pushed, "all traces from the bucket")
    return server, pushed


def refused(servers, config, env=None):
    """Starts a server that must not start, and returns what it said."""
    server = servers.new("refused", config=config, env=env).spawn()
    assert server.process.wait(60) == 1, server.logs()
    return server.logs()


class StoreTests:
    def test_spans_are_found_by_id_and_traceql_after_a_restart_without_local_data(self, servers, bucket):
        server = servers.start(config=merge(FAST, bucket.config()))
        trace_ids = [otlp.push_trace(server) for _ in range(10)]
        server.flush()
        eventually(bucket.blocks, "a block in the bucket")
        names = {key.rsplit("/", 1)[1] for key in bucket.keys(f"single-tenant/{bucket.blocks()[0]}/")}
        assert {"data.parquet", "meta.json", "index", "bloom-0"} <= names
        assert sum(meta["totalObjects"] for meta in bucket.metas()) == len(trace_ids)
        for meta in bucket.metas():
            assert meta["size"] == len(bucket.get(f"single-tenant/{meta['blockID']}/data.parquet"))
        assert server.stop() == 0
        forget_local_data(server)
        server.start()
        found = dict.fromkeys(trace_ids, 2)
        eventually(lambda: server.search('{ name =~ "child.*" }') == found, "all traces from the bucket")
        assert len(server.trace(trace_ids[0])) == 3
        eventually(lambda: "single-tenant/index.json.gz" in bucket.keys(), "the tenant index")
        assert not bucket.keys("tactus-check-"), "the check at the start takes its object away"
        assert server.metric("tempodb_backend_request_duration_seconds_count") > 0
        assert "tempodb_backend_hedged_roundtrips_total" in server.metrics()

    def test_prefix_is_in_front_of_every_key(self, servers, bucket):
        bucket.put("other/single-tenant/notes.txt", b"not ours")
        server = servers.start(config=merge(FAST, bucket.config(prefix="some/prefix")))
        trace_ids = [otlp.push_trace(server) for _ in range(3)]
        server.flush()
        eventually(bucket.blocks, "a block")
        assert server.stop() == 0
        keys = [key for key in bucket.keys() if not key.startswith("other/")]
        assert all(key.startswith("some/prefix/") for key in keys), keys
        forget_local_data(server)
        server.start()
        eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "the traces")

    def test_tenants_with_odd_names_are_kept_apart(self, servers, bucket):
        config = merge(FAST, {"multitenancy_enabled": True})
        server = servers.start(config=merge(config, bucket.config()))
        pushed = {}
        for tenant in ODD_TENANTS:
            spans = otlp.trace(2)
            response = server.push(otlp.export(*spans), headers={"X-Scope-OrgID": tenant})
            assert response.status_code == 200, (tenant, response.text)
            pushed[tenant] = spans[0].trace_id.hex()
        server.flush()
        eventually(lambda: all(bucket.blocks(tenant) for tenant in ODD_TENANTS), "a block of every tenant")
        assert {key.split("/")[0] for key in bucket.keys() if "/" in key} == set(ODD_TENANTS)
        assert server.stop() == 0
        forget_local_data(server)
        server.start()
        now = int(time.time())

        def found(tenant):
            response = server.get("/api/search", headers={"X-Scope-OrgID": tenant}, q="{}", start=now - 600, end=now + 600)
            return [trace["traceID"].rjust(32, "0") for trace in response.json()["traces"]]

        for tenant, trace_id in pushed.items():
            eventually(lambda: found(tenant) == [trace_id], f"the trace of {tenant}")

    def test_large_block_goes_up_in_parts(self, servers, bucket):
        server = servers.start(config=merge(FAST, bucket.config()))
        for _ in range(40):
            server.must_push(otlp.export(*(
                otlp.span(attributes={f"k{i}": os.urandom(300).hex() for i in range(6)}) for _ in range(150))))
        server.flush()
        eventually(bucket.blocks, "a block", 120)
        assert server.stop() == 0
        assert sum(meta["size"] for meta in bucket.metas()) > 10 << 20
        forget_local_data(server)
        server.start()
        eventually(lambda: len(server.search("{}", limit=10_000)) == 6000, "all spans")

    def test_start_without_the_store_takes_spans_and_waits_for_it(self, servers, bucket, proxy):
        proxy.set("refuse")
        server = servers.start(config=merge(FAST, bucket.config(proxy.port)))
        assert f"nobody listens at http://127.0.0.1:{proxy.port}" in server.logs()
        trace_ids = [otlp.push_trace(server) for _ in range(3)]
        server.get("/flush", timeout=120)
        proxy.set("pass")
        eventually(bucket.blocks, "the block once storage is there", 120)
        eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "every trace", 60)
