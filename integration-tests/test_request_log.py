"""Lines of the log about requests: server.log_request_*, server.log_source_ips_*, query_frontend.log_query_request_headers."""
import hashlib
import json
import re

import grpc
import pytest
import requests

from harness import otlp
from harness.streaming import StreamingClient
from harness.waiting import eventually

SECRETS = {
    "Authorization": "Bearer hunter2", "Cookie": "session=hunter2", "X-Api-Key": "hunter2", "Proxy-Authorization": "hunter2",
    "X-Tactus-Internal-Token": "hunter2", "X-Functions-Key": "hunter2", "Api_Key": "hunter2", "X-Amzn-Oidc-Data": "hunter2"}


def lines(server, message, part):
    return [line for line in server.logs().splitlines() if f'"msg":"{message}"' in line and part in line]


def line(server, message, part):
    """The only line of a message with this part, as JSON."""
    (found,) = eventually(lambda: lines(server, message, part), f"a line {message} with {part}")
    return json.loads(found)


def test_requests_are_listed_with_headers_and_addresses(servers):
    server = servers.start(config={"multitenancy_enabled": True, "server": {
        "log_format": "json", "log_request_at_info_level_enabled": True, "log_request_headers": True,
        "log_request_exclude_headers_list": "X-Private, X-Other", "log_source_ips_enabled": True}})
    headers = {**SECRETS, "X-Scope-OrgID": "acme", "X-Private": "p", "X-Dashboard": "d", "X-Forwarded-For": "203.0.113.7, 198.51.100.2"}
    answer = server.session.get(server.url + "/api/search?q=%7B%7D&marker=1", headers=headers, timeout=20)
    assert answer.status_code == 200
    found = line(server, "request", "marker=1")
    assert found["level"] == "info" and found["method"] == "GET" and found["status"] == "200" and found["tenant"] == "acme"
    assert found["url"] == "/api/search?q=%7B%7D&marker=1" and 0 <= found["duration_seconds"] < 20
    assert found["sourceIPs"] == "203.0.113.7, 127.0.0.1"
    shown = json.loads(found["headers"])
    assert shown["x-dashboard"] == "d" and shown["x-scope-orgid"] == "acme"
    assert not set(shown) & {"x-private", *(name.lower() for name in SECRETS)}
    assert server.get("/nothing/here").status_code == 404
    assert line(server, "request", "/nothing/here")["status"] == "404"
    streamed = StreamingClient(server.grpc_port, tenant="acme").call("Search", Query="{}")
    assert streamed.last is not None
    found = line(server, "request", "/tempopb.StreamingQuerier/Search")
    assert (found["method"], found["status"], found["sourceIPs"]) == ("POST", "Ok", "127.0.0.1")
    assert "hunter2" not in server.logs()


def test_calls_that_are_refused_are_listed_and_counted(servers):
    users = servers.directory / "users.yaml"
    token = hashlib.sha256(b"token-of-op").hexdigest()
    users.write_text(json.dumps({"users": [{"name": "op", "token_sha256": token, "tenants": "*", "roles": ["read"]}]}))
    server = servers.start(config={
        "server": {"log_format": "json", "log_request_at_info_level_enabled": True},
        "auth": {"enabled": True, "users_file": str(users), "public_paths": ["/ready", "/metrics"]}})
    search = "/tempopb.StreamingQuerier/Search"
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        for path, secret, code in [
                (search, None, "UNAUTHENTICATED"), (search, "guess", "UNAUTHENTICATED"), ("/made.up/Name", "guess", "UNAUTHENTICATED"), (search, "token-of-op", "OK")]:
            metadata = [("authorization", f"Bearer {secret}")] if secret else None
            try:
                list(channel.unary_stream(path)(b"", timeout=20, metadata=metadata))
                got = "OK"
            except grpc.RpcError as error:
                got = error.code().name
            assert got == code, path
    found = eventually(lambda: len(lines(server, "request", search)) == 3 and lines(server, "request", search), "a line for each")
    assert sorted(json.loads(one)["status"] for one in found) == ["Ok", "Unauthenticated", "Unauthenticated"]
    assert line(server, "request", "/made.up/Name")["status"] == "Unauthenticated"
    counted = {name: value for name, value in server.metrics().items() if name.startswith("tempo_request_duration_seconds_count{method=\"gRPC\"")}
    assert sum(value for name, value in counted.items() if 'route="other",status_code="error"' in name) == 3, counted
    assert not any("made.up" in name for name in counted)


def test_requests_have_lines_at_level_debug_and_none_by_default(servers):
    quiet = servers.start("quiet", config={"server": {"log_format": "json", "log_request_headers": True}})
    loud = servers.start("loud", config={"server": {"log_format": "json", "log_level": "debug"}})
    for server in (quiet, loud):
        assert server.get("/api/echo").status_code == 200
    found = line(loud, "request", '"url":"/api/echo"')
    assert found["level"] == "debug" and not {"headers", "sourceIPs"} & set(found)
    assert lines(quiet, "request", "") == []


def test_addresses_are_read_from_a_header_of_ones_own(servers):
    server = servers.start(config={"server": {
        "log_format": "json", "log_request_at_info_level_enabled": True, "log_source_ips_enabled": True,
        "log_source_ips_header": "X-Client", "log_source_ips_regex": "ip=([^;]+)"}})
    requests.get(server.url + "/api/echo?a", headers={"X-Client": "port=1;ip=203.0.113.9;", "X-Real-IP": "2.2.2.2"}, timeout=20)
    assert line(server, "request", "echo?a")["sourceIPs"] == "203.0.113.9, 127.0.0.1"


@pytest.mark.parametrize("key, value", [("log_source_ips_regex", "("), ("log_source_ips_header", "a b")])
def test_mistakes_are_refused_by_their_key(servers, key, value):
    keys = {"log_source_ips_header": "X-Client", "log_source_ips_regex": "x", key: value}
    server = servers.new(config={"server": {"log_source_ips_enabled": True, **keys}})
    server.spawn().process.wait(30)
    assert re.search(rf"server\.{key}: ", server.logs()), server.logs()


def test_queries_are_listed_with_the_headers_that_are_asked_for(servers):
    server = servers.start(config={
        "server": {"log_format": "json"}, "query_frontend": {"log_query_request_headers": "X-Dashboard-Uid,Authorization,x-user"}})
    server.must_push(otlp.export(otlp.span()))
    headers = {**SECRETS, "X-Dashboard-Uid": "d1", "X-User": "ada", "X-Other": "no"}
    requests.get(server.url + "/api/search?q=%7B%7D&marker=2", headers=headers, timeout=20).raise_for_status()
    found = line(server, "query", "marker=2")
    assert found["level"] == "info" and found["tenant"] == "single-tenant" and found["duration_seconds"] >= 0
    assert json.loads(found["headers"]) == {"x-dashboard-uid": "d1", "x-user": "ada"}
    # As events, and over gRPC: the line comes when the query is over.
    accept = {**headers, "Accept": "text/event-stream"}
    requests.get(server.url + "/api/search?q=%7B%7D&marker=3", headers=accept, timeout=20).raise_for_status()
    assert json.loads(line(server, "query", "marker=3")["headers"])["x-user"] == "ada"
    assert StreamingClient(server.grpc_port).call("Search", Query='{ name = "grpc" }').last is not None
    found = line(server, "query", "grpc")
    assert found["url"].startswith("/api/search?") and found["headers"] == "{}"
    assert "hunter2" not in server.logs()
