"""What docs/operations/changes.md says, done to a running cluster: clients notice nothing, and every span is found."""
import hashlib
import shutil
import time

import pytest
import yaml
from harness import otlp
from harness.cluster import Cluster
from harness.endure import Endured
from harness.server import merge
from harness.waiting import eventually

COUNTS = {"ingester": 3, "distributor": 2, "query-frontend": 2, "querier": 2, "compactor": 1}
TOKEN = "everyone-token"


def roll(cluster, change, service=None):
    """Restarts every process (of a service) with the configuration that `change(node)` adds, one after the other."""
    for node in cluster.of(service) if service else list(cluster.nodes.values()):
        assert node.stop(60) == 0, node.logs()[-3000:]
        node.config = merge(node.config, change(node))
        node.spawn().await_ready()
        cluster.await_ring({one.name for one in cluster.of("ingester")})


@pytest.fixture
def cluster(tmp_path, bucket):
    # Clients have their credentials before anybody asks for them.
    with Cluster(tmp_path / "cluster", bucket, COUNTS, headers={"Authorization": f"Bearer {TOKEN}"}) as cluster:
        yield cluster.start()


def test_authentication_is_turned_on_and_off_and_nobody_notices(cluster, tmp_path):
    token, users = tmp_path / "internal-token", tmp_path / "users.yaml"
    token.write_text("between-ourselves-0123456789")
    users.write_text(yaml.safe_dump({"users": [{
        "name": "everyone", "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "tenants": "*",
        "roles": ["read", "write", "admin"]}]}))
    shown = {"auth": {"internal_token_file": str(token)}}
    demanded = merge(shown, {"auth": {"enabled": True, "users_file": str(users)}})
    with Endured(cluster) as endured:
        endured.fault()
        roll(cluster, lambda node: shown)
        assert all("gossip trusts everyone who reaches its port" in node.logs() for node in cluster.nodes.values())
        roll(cluster, lambda node: demanded)
        for node in cluster.nodes.values():
            assert "gossip trusts members that prove to know auth.internal_token_file" in node.logs()
        distributor = cluster["distributor-0"]
        del distributor.session.headers["Authorization"]
        assert distributor.get("/status/config").status_code == 401
        distributor.session.headers.update(cluster.headers)
        roll(cluster, lambda node: {"auth": {"enabled": False}})
        endured.recovered("authentication on and off")
        endured.assert_unnoticed()


def test_zones_are_turned_on_and_nobody_notices(cluster):
    zones = {node.name: f"zone-{number}" for number, node in enumerate(cluster.of("ingester"))}
    with Endured(cluster) as endured:
        endured.fault()
        roll(cluster, lambda node: {"ingester": {"lifecycler": {"availability_zone": zones.get(node.name, "")}}})
        roll(cluster, lambda node: {"ingester": {"lifecycler": {"ring": {"zone_awareness_enabled": True}}}})
        endured.recovered("zones")
        endured.assert_unnoticed()
    for number, zone in enumerate(sorted(set(zones.values()))):
        shards = cluster[f"distributor-{number % 2}"].get("/ingester/ring").json()["shards"]
        assert zone in {shard["zone"] for shard in shards}


def test_one_copy_becomes_three(tmp_path, bucket):
    one = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    three = {"ingester": {"lifecycler": {"ring": {"replication_factor": 3}}}}
    with Cluster(tmp_path / "cluster", bucket, COUNTS, one) as cluster:
        cluster.start()
        # Answers may be partial while an ingester restarts; none may be wrong.
        with Endured(cluster) as endured:
            roll(cluster, lambda node: three, "ingester")
            endured.await_pushes(20)
            endured.fault()
            for service in ("querier", "query-frontend", "distributor"):
                roll(cluster, lambda node: three, service)
            cluster.flush()
            roll(cluster, lambda node: three, "compactor")
            endured.recovered("three copies instead of one")
            endured.assert_unnoticed()
            endured.fault()
            cluster["ingester-1"].kill()
            endured.await_pushes(20)
            endured.recovered("the death of an ingester")
            cluster["ingester-1"].start()
            assert not endured.partial_answers()


# --- one process -----------------------------------------------------------------------------------------------------


def test_blocks_on_a_local_disk_move_into_a_bucket(servers, bucket):
    server = servers.start()
    stored = [otlp.push_trace(server) for _ in range(5)]
    server.flush()
    eventually(lambda: list(server.blocks.glob("single-tenant/*/meta.json")), "a block on the disk")
    recent = otlp.push_trace(server)
    assert server.stop() == 0
    for path in server.blocks.rglob("*"):
        if path.is_file():
            bucket.put(str(path.relative_to(server.blocks)), path.read_bytes())
    shutil.rmtree(server.blocks)
    server.config = merge(server.config, bucket.config())
    server.start()
    eventually(lambda: server.search("{}") == dict.fromkeys([*stored, recent], 3), "all traces")
    server.flush()
    eventually(lambda: len(bucket.blocks()) == 2, "the spans of the log are in the bucket as well")
    assert server.search("{}") == dict.fromkeys([*stored, recent], 3)


def test_tenant_is_removed_by_a_short_retention(servers, tmp_path, bucket):
    limits = tmp_path / "limits.yaml"
    limits.write_text("overrides: {}\n")
    server = servers.start(config=merge(bucket.config(), {
        "multitenancy_enabled": True,
        "overrides": {"per_tenant_override_config": str(limits), "per_tenant_override_period": "100ms"},
        "compactor": {"compaction": {"compaction_cycle": "200ms", "compacted_block_retention": "1s"}},
    }))
    goes, stays = {"X-Scope-OrgID": "team-a"}, {"X-Scope-OrgID": "team-b"}
    hour_ago = time.time_ns() - 3600 * 10**9
    span = otlp.span()
    span.start_time_unix_nano, span.end_time_unix_nano = hour_ago, hour_ago + 10**6
    for headers in (goes, stays):
        assert server.push(otlp.export(span), headers=headers).status_code == 200
    server.flush()
    eventually(lambda: bucket.blocks("team-a") and bucket.blocks("team-b"), "a block of each")
    limits.write_text("overrides: {team-a: {compaction: {block_retention: 1m}}}\n")
    eventually(lambda: not bucket.keys("team-a/"), "nothing of the tenant is in the bucket", 60)
    listed = 'tempodb_blocklist_length{tenant="%s"}'
    eventually(lambda: not server.metrics().get(listed % "team-a"), "its blocks are not listed")
    assert bucket.blocks("team-b") and server.metrics()[listed % "team-b"] == 1
