"""What the metrics generator collected reaches its receiver: outages, restarts, the end of the process."""
import socket
import time

import pytest

from harness import otlp
from harness.generator import generator, push_calls
from harness.prometheus import Receiver
from harness.waiting import eventually


def test_receiver_that_is_away_costs_nothing_within_the_queue(servers, tmp_path, receiver):
    receiver.otherwise = 503
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    push_calls(server, 5)
    eventually(lambda: len(receiver.requests) >= 3, "attempts", 40)
    push_calls(server, 5)
    time.sleep(3)
    resident = server.resident_bytes()
    attempts = [r for r in receiver.requests if r["headers"].get("retry-attempt")]
    assert attempts and len({r["body"] for r in receiver.requests}) == 1, "the same batch is sent again"
    receiver.otherwise = 200
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 10, "what waited arrives", 40)
    for key, points in receiver.samples().items():
        times = [at for at, _ in points]
        assert times == sorted(set(times)), key
        # A sample a second, none lost while the receiver was away.
        gaps = [b - a for a, b in zip(times[1:], times[2:])]
        assert max(gaps, default=0) < 3000, (key, gaps)
    assert server.resident_bytes() < resident + (64 << 20)


def test_prometheus_that_restarts_has_every_sample_of_its_absence(servers, tmp_path, prometheus):
    server = servers.start(config=generator(tmp_path, [prometheus.write_url], processors=["span-metrics-count"]))
    push_calls(server, 3)
    bank = 'traces_spanmetrics_calls_total{service="bank"}'
    eventually(lambda: prometheus.value(f"sum({bank})") == 3, "the first calls", 40)
    prometheus.stop()
    left = time.time()
    push_calls(server, 4)
    retried = "prometheus_remote_storage_samples_retried_total"
    eventually(lambda: server.metric(retried) > 0, "attempts", 40)
    time.sleep(5)
    push_calls(server, 5)
    prometheus.start()
    eventually(lambda: prometheus.value(f"sum({bank})") == 12, "all calls", 40)
    back = time.time()
    # A collection a second, those of its absence too.
    (series,) = prometheus.get("/api/v1/query", query=f"{bank}[10m]")["result"]
    times = [at for at, _ in series["values"]]
    assert times[0] < left < back < times[-1] + 5
    assert max(b - a for a, b in zip(times[1:], times[2:])) < 3, times
    assert {value for _, value in series["values"]} >= {"3", "7", "12"}
    assert server.metric("prometheus_remote_storage_samples_dropped_total") == 0
    assert server.metric("prometheus_remote_storage_samples_failed_total") == 0


def second_protocol(config, receiver=0):
    config["metrics_generator"]["storage"]["remote_write"][receiver]["protobuf_message"] = "io.prometheus.write.v2.Request"
    return config


def test_second_protocol_at_a_receiver_without_it_is_noticed(servers, tmp_path, prometheus):
    """Prometheus before 2.54 answers as if all were well, and keeps nothing."""
    config = second_protocol(generator(tmp_path, [prometheus.write_url], processors=["span-metrics-count"]))
    server = servers.start(config=config)
    push_calls(server, 1)
    eventually(lambda: server.metric("prometheus_remote_storage_samples_failed_total") > 0, "samples without confirmation", 40)
    assert prometheus.value("sum(traces_spanmetrics_calls_total)") is None
    assert "does not confirm all that was sent" in server.logs()


def test_both_protocols_bring_the_same_series(servers, tmp_path, prometheus, second_prometheus):
    config = second_protocol(generator(
        tmp_path, [prometheus.write_url, second_prometheus.write_url], processors=["span-metrics", "service-graphs", "host-info"],
        limits={"generate_native_histograms": "both"}), receiver=1)
    config["metrics_generator"]["storage"]["remote_write"] = [
        {**entry, "send_exemplars": True, "send_native_histograms": True, "metadata_config": {"send": True}}
        for entry in config["metrics_generator"]["storage"]["remote_write"]]
    server = servers.start(config=config)
    push_calls(server, 3)
    push_calls(server, 2, failed=True)
    at = {}

    def whole(receiver):
        rows = receiver.get("/api/v1/query", query='{source="test"}', time=at["time"])["result"]
        return {tuple(sorted(row["metric"].items())): numbers(row) for row in rows}

    def numbers(row):
        if "value" in row:
            return float(row["value"][1])
        histogram = row["histogram"][1]
        buckets = [tuple(map(float, bucket)) for bucket in histogram.get("buckets", [])]
        return float(histogram["count"]), float(histogram["sum"]), buckets

    edge = 'sum(traces_service_graph_request_total{client="shop",server="bank"})'
    for receiver in (prometheus, second_prometheus):
        eventually(lambda: receiver.value('sum(traces_spanmetrics_calls_total{service="bank"})') == 5, "all calls", 40)
        eventually(lambda: receiver.value(edge) == 5, "all edges", 40)
        eventually(lambda: receiver.value("sum(traces_service_graph_request_total)") == 10, "roots too", 40)
    # Nothing is pushed any more: at one moment, both must hold the same.
    at["time"] = time.time()
    eventually(lambda: all(r.value("max(timestamp(traces_spanmetrics_calls_total))") > at["time"] for r in (prometheus, second_prometheus)),
               "a later collection", 40)
    first, second = whole(prometheus), whole(second_prometheus)
    assert len(first) > 100 and first == second
    for promql in (
        'histogram_count(sum(traces_spanmetrics_latency{service="bank"}))',
        'histogram_sum(sum(traces_spanmetrics_latency{service="bank"}))',
        'sum(count_over_time(traces_spanmetrics_calls_total{service="bank"}[10m]))',
    ):
        values = [receiver.value(f"{promql}") for receiver in (prometheus, second_prometheus)]
        if promql.startswith("sum(count"):
            # Collections go on between the two questions.
            assert abs(values[0] - values[1]) <= 4 < values[0], (promql, values)
        else:
            assert values[0] is not None and abs(values[0] - values[1]) < 1e-9, (promql, values)

    def exemplars(receiver):
        data = receiver.get("/api/v1/query_exemplars", query="traces_spanmetrics_latency_bucket", start=at["time"] - 600, end=at["time"] + 600)
        return {(tuple(sorted(row["seriesLabels"].items())), exemplar["labels"]["traceID"], float(exemplar["value"]))
                for row in data for exemplar in row["exemplars"]}

    assert exemplars(prometheus) and exemplars(prometheus) == exemplars(second_prometheus)
    assert server.metric("prometheus_remote_storage_samples_failed_total") == 0


def test_second_protocol_survives_a_receiver_that_restarts(servers, tmp_path, second_prometheus):
    config = second_protocol(generator(tmp_path, [second_prometheus.write_url], processors=["span-metrics-count"]))
    server = servers.start(config=config)
    push_calls(server, 3)
    bank = 'traces_spanmetrics_calls_total{service="bank"}'
    eventually(lambda: second_prometheus.value(f"sum({bank})") == 3, "the first calls", 40)
    second_prometheus.stop()
    left = time.time()
    push_calls(server, 4)
    eventually(lambda: server.metric("prometheus_remote_storage_samples_retried_total") > 0, "attempts", 40)
    second_prometheus.start()
    eventually(lambda: second_prometheus.value(f"sum({bank})") == 7, "all calls", 40)
    eventually(lambda: second_prometheus.value(f"count_over_time({bank}[10m])") > 8, "collections", 40)
    (series,) = second_prometheus.get("/api/v1/query", query=f"{bank}[10m]")["result"]
    times = [at for at, _ in series["values"]]
    assert times[0] < left and max(b - a for a, b in zip(times[1:], times[2:])) < 3, times
    assert server.metric("prometheus_remote_storage_samples_dropped_total") == 0
    assert server.metric("prometheus_remote_storage_samples_failed_total") == 0


def test_attributes_called_like_labels_of_every_series_hold_up_none(servers, tmp_path, prometheus):
    """A label twice in one series is refused together with all other series of its request."""
    config = generator(tmp_path, [prometheus.write_url], processors=["span-metrics", "service-graphs"])
    config["metrics_generator"]["processor"]["span_metrics"] = {"enable_target_info": True, "dimensions": ["le"]}
    config["metrics_generator"]["processor"]["service_graphs"]["dimensions"] = ["le", "__name__"]
    server = servers.start(config=config)
    server.must_push(otlp.export(
        otlp.span(name="odd", kind=otlp.Span.SPAN_KIND_SERVER, attributes={"le": "7"}),
        service="odd", resource={"__name__": "x", "host": "h"}))
    push_calls(server, 1)
    eventually(lambda: prometheus.value('sum(traces_spanmetrics_calls_total{service="bank"})') == 1, "another service's", 40)
    assert prometheus.value('traces_spanmetrics_latency_count{service="odd",__le="7"}') == 1
    assert prometheus.value('traces_spanmetrics_latency_bucket{service="odd",le="+Inf"}') == 1
    eventually(lambda: prometheus.value('traces_target_info{job="odd",____name__="x",host="h"}') == 1, "target info", 40)
    virtual = 'traces_service_graph_request_server_seconds_count{server="odd",__le="7",____name__="x"}'
    eventually(lambda: prometheus.value(virtual) == 1, "a call", 40)
    assert server.metric("prometheus_remote_storage_samples_failed_total") == 0
    page = server.get("/metrics/generated").text
    assert '____name__="x"' in page and '{__name__' not in page and ',__name__' not in page


def test_what_waits_survives_kill_9(servers, tmp_path, receiver):
    receiver.otherwise = 503
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    push_calls(server, 4)
    eventually(lambda: "traces_service_graph_request_total" in server.get("/metrics/generated").text, "series")
    time.sleep(2.5)  # two collections, on disk
    server.kill()
    receiver.otherwise = 200
    server.start()
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 4, "what was collected before", 40)
    push_calls(server, 2)
    # Counters start again.
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 2, "what came after", 40)


def test_end_of_the_process_sends_what_is_counted(servers, tmp_path, receiver):
    config = generator(tmp_path, [receiver.write_url])
    config["metrics_generator"]["registry"]["collection_interval"] = "5m"
    config["metrics_generator"]["processor"]["service_graphs"]["wait"] = "5m"
    server = servers.start(config=config)
    push_calls(server, 3)
    eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") == 9, "the spans")
    assert server.stop() == 0
    assert receiver.latest("traces_spanmetrics_calls_total", service="bank") == 3
    assert receiver.latest("traces_service_graph_request_total", client="shop", server="bank") == 3
    # Roots were still waiting for a client.
    assert receiver.latest("traces_service_graph_request_total", client="user", server="shop") == 3


def test_end_without_receivers_is_one(servers, tmp_path):
    server = servers.start(config=generator(tmp_path))
    push_calls(server, 1)
    eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") == 3, "the spans")
    assert server.stop(20) == 0


@pytest.mark.parametrize("how", ["refuses connections", "never answers"])
def test_end_is_not_held_up_for_longer_than_configured_and_the_rest_stays_on_disk(servers, tmp_path, how):
    with socket.socket() as away:
        away.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        away.bind(("127.0.0.1", 0))
        port = away.getsockname()[1]
        if how == "never answers":
            away.listen(100)
        config = generator(tmp_path, [f"http://127.0.0.1:{port}/write"], processors=["span-metrics-count"])
        config["metrics_generator"]["storage"]["remote_write_flush_deadline"] = "3s"
        server = servers.start(config=config)
        push_calls(server, 6)
        eventually(lambda: server.metric("prometheus_remote_storage_samples_pending") > 0, "something waits", 40)
        begun = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - begun
    assert 3 <= took < 15, "it tries as long as it may, and no longer"
    assert "the rest stays on disk for the next start" in server.logs()
    receiver = Receiver(port=port)
    try:
        server.start()
        eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 6, "what was left", 40)
    finally:
        servers.close()
        receiver.close()


@pytest.mark.parametrize("retries_429", [False, True])
def test_answers_of_the_receiver(servers, tmp_path, receiver, retries_429):
    config = generator(tmp_path, [receiver.write_url], processors=["span-metrics-count"])
    remote = config["metrics_generator"]["storage"]["remote_write"][0]
    remote["queue_config"]["retry_on_http_429"] = retries_429
    receiver.answers = [500, (503, {"Retry-After": "1"}), 200, 400, 429]
    server = servers.start(config=config)
    push_calls(server, 1)
    eventually(lambda: len(receiver.requests) >= 7, "all answers were given", 60)
    first, second, third, refused, limited, after = receiver.requests[:6]
    assert first["body"] == second["body"] == third["body"]
    assert [r["headers"].get("retry-attempt") for r in (first, second, third)] == [None, "1", "2"]
    assert third["time"] - second["time"] >= 0.9, "Retry-After"
    assert refused["body"] != third["body"] and limited["body"] != refused["body"], "400 is not sent again"
    assert (after["body"] == limited["body"]) == retries_429
    for request in receiver.requests:
        headers = request["headers"]
        assert headers["content-encoding"] == "snappy" and headers["content-type"] == "application/x-protobuf"
        assert headers["x-prometheus-remote-write-version"] == "0.1.0"
        assert headers["user-agent"].startswith("tactus/") and "x-scope-orgid" not in headers
    failed = {k: v for k, v in server.metrics().items() if k.startswith("prometheus_remote_storage_samples_failed_total") and v}
    assert failed, "dropped samples are counted"
