"""What an operator looks at: readiness, metrics, status pages, logs, the stop."""
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import grpc
import pytest
import requests

from harness import otlp
from harness.program import end_with_parent
from harness.waiting import eventually


def test_ready_echo_and_build_information(tactus):
    assert (tactus.get("/ready").status_code, tactus.get("/ready").text) == (200, "ready\n")
    echo = tactus.get("/api/echo")
    assert (echo.text, echo.headers["Content-Type"]) == ("echo\n", "text/plain; charset=utf-8")
    build = tactus.get("/api/status/buildinfo")
    assert build.headers["Content-Type"] == "application/json"
    assert list(build.json()) == ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"]
    # Dashboards switch features on by it.
    assert tuple(map(int, build.json()["version"].split("."))) >= (2, 7, 0)


def test_absent_things_on_a_fresh_server(servers):
    server = servers.start()
    missing = server.get("/api/traces/ff")
    assert (missing.status_code, missing.content) == (404, b"")
    assert server.get("/api/v2/traces/ff").text == '{"trace":{},"metrics":{}}'
    assert server.get("/api/v2/traces/ff", accept="application/protobuf").content == b"\x0a\x00\x12\x00"
    assert server.search("{}") == {}


METRICS = [
    "tempo_build_info", "tempo_request_duration_seconds_bucket", "tempo_request_duration_seconds_count",
    "tempo_distributor_spans_received_total", "tempo_distributor_bytes_received_total",
    "tempo_receiver_accepted_spans", "tempo_ingester_live_traces", "tempo_ingester_traces_created_total",
    "tempo_ingester_bytes_received_total", "tempo_ingester_blocks_flushed_total",
    "tempo_ingester_failed_flushes_total", "tempo_ingester_blocks_cleared_total", "tempodb_blocklist_length",
    "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds",
]


def test_metrics_have_the_names_that_dashboards_use(servers):
    server = servers.start()
    otlp.push_trace(server)
    server.get("/api/search", q="{}")
    server.flush()
    eventually(server.block_directories, "a block")
    eventually(lambda: server.metric("tempodb_blocklist_length") == 1, "the block is in the list")
    response = server.get("/metrics", accept="text/plain")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in response.text.splitlines() if not line.startswith("#")}
    assert not set(METRICS) - names, sorted(set(METRICS) - names)
    samples = server.metrics()
    assert samples['tempo_distributor_spans_received_total{tenant="single-tenant"}'] == 3
    assert samples['tempodb_blocklist_length{tenant="single-tenant"}'] == 1
    assert server.metric("tempo_receiver_accepted_spans") == 3
    server.get("/api/v2/search/tag/span.a%2Fb/values")
    route = 'route="api_v2_search_tag_tagname_values"'
    assert any(route in k for k in server.metrics() if k.startswith("tempo_request_duration_seconds_count{")), "as Tempo's dashboards ask for it"
    counted = [k for k in samples if k.startswith("tempo_request_duration_seconds_count{") and '"api_search"' in k]
    assert counted and 'method="GET"' in counted[0] and 'status_code="200"' in counted[0], counted


def test_gauges_follow_what_is_there(servers):
    server = servers.start()
    otlp.push_trace(server)
    eventually(lambda: server.metric("tempo_ingester_live_traces") == 1, "a live trace")
    eventually(lambda: server.metric("tactus_ingester_segments") == 1, "a segment")
    server.flush()
    eventually(lambda: server.metric("tactus_ingester_segments") == 0, "no segment", 40)
    assert server.metric("tempo_ingester_live_traces") == 0
    # The tenant itself takes some.
    assert 0 < server.metric("tactus_ingester_live_bytes") < 16 << 10


def test_process_alone_has_no_members_and_nobody_in_the_ring_of_compactors(tactus):
    for accept in ("text/html", "application/json"):
        members = tactus.get("/memberlist", accept=accept)
        assert (members.status_code, members.text) == (200, "This instance doesn't use memberlist."), accept
        assert members.headers["content-type"].startswith("text/plain"), accept
    assert tactus.get("/compactor/ring").json()["shards"] == []
    assert [one["state"] for one in tactus.get("/ingester/ring").json()["shards"]] == ["ACTIVE"]


def test_status_pages(tactus):
    names = ("version", "services", "endpoints", "runtime_config", "config")
    pages = {name: tactus.get(f"/status/{name}") for name in names}
    assert {page.status_code for page in pages.values()} == {200}
    assert pages["version"].text.startswith("tactus, version ") or pages["version"].text.startswith("tempo, version ")
    for service in ("distributor", "ingester", "querier", "query-frontend"):
        assert service in pages["services"].text, pages["services"].text
    assert "Running" in pages["services"].text
    for route in ("/api/search", "/ready", "/metrics", "/flush"):
        assert route in pages["endpoints"].text
    assert "\n\nAPI documentation: " in pages["endpoints"].text
    whole = tactus.get("/status").text
    for name in pages:
        assert f"GET /status/{name}\n" in whole
    assert tactus.get("/status/nonsense").status_code == 404


def test_log_level_is_changed_while_the_process_runs(servers):
    server = servers.start()

    def level(**change):
        ask = server.session.post if change else server.session.get
        answer = ask(f"{server.url}/log_level", data=change, timeout=10)
        return answer.status_code, answer.json()["message"]

    assert level() == (200, "Current log level is info")
    assert level(log_level="loud") == (400, 'unrecognized log level "loud": expecting debug, info, warn or error')
    assert level(log_level="warn") == (200, "Log level set to warn")
    silent = server.logs()
    server.flush()
    assert "level=info" not in server.logs()[len(silent):]
    assert level(log_level="debug") == (200, "Log level set to debug") and level() == (200, "Current log level is debug")
    assert 'msg="the log level is changed"' in server.logs()[len(silent):]


def test_unknown_path_is_404_in_plain_text(tactus):
    response = tactus.get("/nowhere")
    assert (response.status_code, response.text) == (404, "404 page not found\n")


def test_http_methods(tactus):
    for method, path, status in (
            ("HEAD", "/ready", 200), ("POST", "/api/echo", 200), ("POST", "/api/status/buildinfo", 405), ("POST", "/status", 405)):
        assert tactus.session.request(method, tactus.url + path, timeout=30).status_code == status, (method, path)


def test_answers_are_compressed_on_request(servers):
    server = servers.start()
    for _ in range(20):
        otlp.push_trace(server)
    window = {"start": int(time.time()) - 600, "end": int(time.time()) + 60}
    response = server.get("/api/search", q="{}", headers={"Accept-Encoding": "gzip"}, **window)
    assert response.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in response.headers["Vary"]
    assert len(response.json()["traces"]) == 20
    response = server.get("/api/search", q="{}", headers={"Accept-Encoding": "identity"}, **window)
    assert "Content-Encoding" not in response.headers


def test_logs_are_logfmt_or_json(servers):
    server = servers.start("logfmt")
    lines = [line for line in server.logs().splitlines() if line.startswith("level=")]
    assert lines and all(re.match(r"level=(debug|info|warn|error) ts=\d{4}-\d\d-\d\dT", line) for line in lines)
    server = servers.start("json", config={"server": {"log_format": "json"}})
    lines = [line for line in server.logs().splitlines() if line.startswith("{")]
    assert lines and all({"level", "ts"} <= json.loads(line).keys() for line in lines)


def test_grpc_health_is_serving(tactus):
    # grpc.health.v1.HealthCheckResponse { status: SERVING = 1 }
    with grpc.insecure_channel(f"127.0.0.1:{tactus.grpc_port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == b"\x08\x01"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_graceful_and_exits_zero(servers, number):
    server = servers.start()
    otlp.push_trace(server)
    server.process.send_signal(number)
    assert server.process.wait(60) == 0
    assert "panicked" not in server.logs()


def test_reader_of_the_log_that_hangs_stops_nothing(servers):
    server = servers.new(config={"server": {"log_level": "debug"}})
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    server.process = subprocess.Popen(
        server.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, cwd=server.directory,
        env=server.env, preexec_fn=end_with_parent)
    os.close(writer)
    try:
        eventually(lambda: server.session.get(server.url + "/ready", timeout=5).status_code == 200, "ready")
        # Each has a line; the pipe is full long before.
        for _ in range(200):
            assert server.get("/api/search", q="{}", timeout=10).status_code == 200
        otlp.push_trace(server)
        server.flush()
        assert server.metric("tactus_log_lines_dropped_total") == 0, "they wait for the reader"
        assert server.stop(30) == 0
        assert os.read(reader, 1 << 20).startswith(b"level=")
    finally:
        os.close(reader)


def test_ready_means_that_every_port_listens_and_signals_are_heeded(servers):
    server = servers.new()
    for _ in range(5):
        server.spawn()
        eventually(lambda: server.session.get(server.url + "/ready", timeout=5).status_code == 200, "ready", interval=0)
        for port in (server.otlp_http_port, server.otlp_grpc_port, server.grpc_port):
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                pass
        assert server.stop() == 0


def test_ready_says_that_it_is_stopping(servers):
    server = servers.start(config={"shutdown_delay": "3s"})
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: server.get("/ready").status_code == 503, "not ready")
    assert server.get("/ready").text == "Application is stopping\n"
    # Within the delay requests are still served, each the last of its connection.
    answer = server.get("/api/echo")
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
    assert server.process.wait(60) == 0


def test_shutdown_by_request_writes_everything_and_exits_zero(servers):
    server = servers.start()
    otlp.push_trace(server)
    response = server.session.post(server.url + "/shutdown", timeout=60)
    assert (response.status_code, response.text) == (200, "shutdown job acknowledged")
    assert server.process.wait(60) == 0
    assert len(server.block_directories()) == 1


def test_prefix_holds_for_the_query_routes_only(servers):
    server = servers.start(config={"http_api_prefix": "/tempo"})
    trace_id = otlp.push_trace(server)
    assert server.get(f"/tempo/api/traces/{trace_id}").status_code == 200
    assert server.get("/tempo/api/echo").text == "echo\n"
    assert server.get("/api/echo").status_code == 404
    assert server.get("/metrics").status_code == 200 and server.get("/flush").status_code == 204


def test_requests_under_way_at_the_stop_are_answered(servers):
    server = servers.start()
    statuses, begun = [], threading.Event()

    def slow_body():
        body = otlp.export(otlp.span()).SerializeToString()
        yield body[:10]
        begun.set()
        eventually(lambda: "stop" in server.logs().lower(), "the stop has begun", 30)
        yield body[10:]

    def push():
        response = requests.post(
            server.otlp_url + "/v1/traces", data=slow_body(), headers={"Content-Type": "application/x-protobuf"}, timeout=30)
        statuses.append(response.status_code)

    thread = threading.Thread(target=push)
    thread.start()
    assert begun.wait(30)
    assert server.stop() == 0
    thread.join(30)
    assert statuses and statuses[0] in (200, 503), statuses
