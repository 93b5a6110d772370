"""Sampling that clients ask the server for: strategies from a file that changes, and adaptive ones."""
import json
import time

import grpc
import pytest
import requests

from harness import dialects, jaeger, otlp
from harness.ports import free_ports
from harness.protobuf import field
from harness.waiting import eventually

STRATEGIES = {
    "default_strategy": {
        "type": "probabilistic", "param": 0.2,
        "operation_strategies": [{"operation": "/health", "type": "probabilistic", "param": 0.1}]},
    "service_strategies": [
        {"service": "ServiceA", "type": "probabilistic", "param": 1}, {"service": "ServiceB", "type": "ratelimiting", "param": 3}],
}
HEALTH = '[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}]'


def per_operation(default):
    return (f'"operationSampling":{{"defaultSamplingProbability":{default},"defaultLowerBoundTracesPerSecond":0,'
            f'"perOperationStrategies":{HEALTH},"defaultUpperBoundTracesPerSecond":0}}}}')


@pytest.fixture
def with_file(servers, tmp_path):
    """(server, the strategies file it watches)."""
    path = tmp_path / "strategies.json"
    path.write_text(json.dumps(STRATEGIES))
    server = dialects.start(servers, extra={"sampling": {"file": {"path": str(path), "reload_interval": "50ms"}}})
    return server, path


def ask(server, service="ServiceA", port=None, path="/sampling"):
    return requests.get(f"http://127.0.0.1:{port or server.ports.sampling_http}{path}", params={"service": service}, timeout=10)


def test_a_file_in_every_form(with_file):
    server, _ = with_file
    a = '{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1},' + per_operation(1)
    b = '{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":3},' + per_operation("0.2")
    for port, path in ((None, "/sampling"), (server.ports.thrift_http, "/api/sampling")):
        assert ask(server, "ServiceA", port, path).text == a
        assert ask(server, "ServiceB", port, path).text == b
        assert ask(server, "ServiceA", port, path).headers["Content-Type"] == "application/json"
    assert ask(server, path="/").json()["strategyType"] == 0
    assert ask(server, path="/baggageRestrictions").json() == []
    for params in ({}, {"service": ["a", "b"]}):
        refused = requests.get(f"http://127.0.0.1:{server.ports.sampling_http}/sampling", params=params, timeout=10)
        assert (refused.status_code, refused.text) == (400, "'service' parameter must be provided once\n")
    for port in (server.ports.sampling_grpc, server.ports.jaeger_grpc):
        with jaeger.channel(port) as channel:
            answer = jaeger.sampling_grpc.SamplingManagerStub(channel).GetSamplingStrategy(
                jaeger.sampling.SamplingStrategyParameters(serviceName="ServiceB"), timeout=10)
            assert (answer.strategyType, answer.rateLimitingSampling.maxTracesPerSecond) == (1, 3)


def test_health_of_the_grpc_port(servers):
    port, = free_ports(1)
    servers.start(config={"sampling": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}})
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        for name in (b"", b"jaeger.api_v2.SamplingManager"):
            assert check(field(1, name), timeout=10) == b"\x08\x01", name


def test_a_file_that_breaks_leaves_what_was(with_file):
    server, path = with_file
    before = ask(server).text
    path.write_text('{"default_strategy": ')
    eventually(lambda: "level=error" in server.logs() and "strategies.json" in server.logs(), "the failure is in the log")
    failures = [name for name in server.metrics() if "sampling" in name and "fail" in name]
    assert failures and sum(server.metrics()[name] for name in failures) > 0
    assert ask(server).text == before
    path.write_text(json.dumps({"default_strategy": {"type": "probabilistic", "param": 0.75}}))
    eventually(lambda: ask(server).json().get("probabilisticSampling") == {"samplingRate": 0.75}, "the mended file is read")


def test_what_cannot_be_ends_the_start(servers, tmp_path):
    path = tmp_path / "strategies.json"
    for content, text in (
        ("{", "strategies.json"), (json.dumps({"default_strategy": {"type": "probabilistic", "param": 7}}), "param"),
    ):
        path.write_text(content)
        server = servers.new("refused", config={"sampling": {"file": {"path": str(path)}}}).spawn()
        assert server.process.wait(30) != 0, content
        assert text in server.logs()
    server = servers.new("both", config={"sampling": {"file": {"path": str(path)}, "adaptive": {}}}).spawn()
    assert server.process.wait(30) != 0
    assert "only one sampling strategy provider can be specified" in server.logs()


def root(probability, operation):
    return otlp.span(name=operation, attributes={"sampler.type": "probabilistic", "sampler.param": probability})


def test_adaptive_sampling_follows_the_traffic_and_survives_a_restart(servers):
    adaptive = {
        "calculation_interval": "500ms", "calculation_delay": "0s", "target_samples_per_second": 1, "initial_sampling_probability": 0.5,
        "leader_lease_refresh_interval": "100ms", "follower_lease_refresh_interval": "200ms",
    }
    server = dialects.start(servers, extra={"sampling": {"adaptive": adaptive}})
    unknown = ask(server, "nobody").json()
    assert unknown["operationSampling"]["defaultSamplingProbability"] == 0.5
    assert unknown["operationSampling"]["perOperationStrategies"] == []

    def probabilities():
        strategies = ask(server, "busy").json()["operationSampling"]["perOperationStrategies"]
        return {s["operation"]: s["probabilisticSampling"]["samplingRate"] for s in strategies}

    stop = time.monotonic() + 30
    while time.monotonic() < stop:
        now = probabilities()
        # Clients do as they are told, so what they send names the probability of this moment.
        server.must_push(otlp.export(*(root(now.get("/hot", 0.5), "/hot") for _ in range(40)), service="busy"))
        if now.get("/hot", 1) < 0.1:
            break
        time.sleep(0.1)
    assert probabilities()["/hot"] < 0.1, probabilities()
    learned = probabilities()["/hot"]
    server.restart()
    eventually(lambda: probabilities().get("/hot", 1) < 0.5, "what was learned is read again")
    assert probabilities()["/hot"] <= max(0.4, 4 * learned)
