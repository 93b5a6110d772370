"""The address that a process tells the others of its cluster: one at which they can reach it."""
import pytest

from harness.ports import free_ports


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "[::]"])
def test_unspecified_address_is_not_advertised(servers, address):
    """Grafana's page on IPv6 sets `ingester.lifecycler.address: '::'`."""
    (gossip,) = free_ports(1)
    server = servers.start(config={
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": gossip, "advertise_addr": address},
        "ingester": {"lifecycler": {
            "address": address, "min_ready_duration": "0s", "ring": {"kvstore": {"store": "memberlist"}}}}})
    (member,) = server.get("/memberlist", accept="application/json").json()["members"]
    for part, port in (("address", gossip), ("grpc_address", server.grpc_port), ("http_address", server.http_port)):
        assert member[part] == f"127.0.0.1:{port}", part
    (shard,) = server.get("/ingester/ring", accept="application/json").json()["shards"]
    assert shard["address"] == f"127.0.0.1:{server.grpc_port}"
    for key in ("ingester.lifecycler.address", "memberlist.advertise_addr"):
        assert server.logs().count(f"{key}: {address} is no address that others can reach") == 1, server.logs()
