"""The metrics generator: from spans that are pushed to what Prometheus answers."""
import re
import time

import grpc
import pytest
import requests
import yaml

from harness import otlp
from harness.clock import JumpingClock
from harness.generator import ERROR, MS, call, generator, push_calls
from harness.otlp import Span
from harness.prometheus import Prometheus
from harness.tools import need
from harness.waiting import eventually


def test_spans_become_what_grafana_and_alerts_ask_for(servers, tmp_path):
    rules = [{"alert": "BankFails", "for": "0s", "expr":
              'sum(increase(traces_spanmetrics_calls_total{service="bank",status_code="STATUS_CODE_ERROR"}[1m]))'
              ' / sum(increase(traces_spanmetrics_calls_total{service="bank"}[1m])) > 0.2'}]
    prometheus = Prometheus(
        tmp_path / "prometheus", rules=rules, config={"global": {"evaluation_interval": "1s"}}).start()
    try:
        look_at_prometheus(servers, tmp_path, prometheus)
    finally:
        servers.close()  # sends what waits
        prometheus.close()


def look_at_prometheus(servers, tmp_path, prometheus):
    server = servers.start(config=generator(tmp_path, [prometheus.write_url], limits={"generate_native_histograms": "both"}))
    push_calls(server, 4)
    eventually(lambda: prometheus.value('sum(traces_spanmetrics_calls_total{service="bank"})') == 4, "the first calls", 40)
    failing = 'sum(traces_spanmetrics_calls_total{service="bank",status_code="STATUS_CODE_ERROR"})'
    # Twice, so that there is a rate: in the first minute of a tenant its series start without a zero.
    push_calls(server, 3, failed=True)
    eventually(lambda: prometheus.value(failing) == 3, "the first failures", 40)
    push_calls(server, 3, failed=True)
    eventually(lambda: prometheus.value(failing) == 6, "all failures", 40)

    def total(metric, **labels):
        selector = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return prometheus.value(f"sum({metric}{{{selector}}})")

    edge = {"client": "shop", "server": "bank"}
    eventually(lambda: total("traces_service_graph_request_total", **edge) == 10, "all calls between the services", 40)
    eventually(lambda: total("traces_service_graph_request_total", client="user", connection_type="virtual_node") == 10, "roots", 40)
    assert total("traces_service_graph_request_failed_total", **edge) == 6
    # What Grafana's tab asks, see its four instant queries and the table below the graph.
    for metric in ("request_total", "request_failed_total", "request_server_seconds_sum", "request_server_seconds_bucket"):
        rows = prometheus.query(f"sum by (client, server) (rate(traces_service_graph_{metric}[2m]))")
        assert ("shop", "bank") in {(row["client"], row["server"]) for row, _ in rows}, metric
        assert prometheus.query(f"group by (client, connection_type, server) (traces_service_graph_{metric})")
    rate = prometheus.query('topk(5, sum(rate(traces_spanmetrics_calls_total{span_kind="SPAN_KIND_SERVER"}[2m])) by (span_name))')
    assert {row["span_name"] for row, _ in rate} == {"GET /buy", "/charge"}
    errors = prometheus.query(
        'topk(5, sum(rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR",span_kind="SPAN_KIND_SERVER",'
        'span_name=~"GET /buy|/charge"}[2m])) by (span_name))')
    assert [row["span_name"] for row, _ in errors] == ["/charge"]
    slow = prometheus.value(
        'histogram_quantile(.9, sum(rate(traces_spanmetrics_latency_bucket{span_name=~"/charge"}[2m])) by (le))')
    assert 0.016 < slow <= 0.032
    assert 0 < prometheus.value(
        "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket"
        '{client="shop",server="bank"}[2m])) by (le, client, server))') <= 0.1
    # Both forms hold the same.
    assert prometheus.value('histogram_count(sum(traces_service_graph_request_server_seconds{client="shop",server="bank"}))') == 10
    exemplars = prometheus.get(
        "/api/v1/query_exemplars", query='traces_spanmetrics_latency_bucket{span_name="/charge"}',
        start=time.time() - 300, end=time.time())
    assert exemplars, "no exemplar"
    trace = exemplars[0]["exemplars"][0]["labels"]["traceID"]
    assert server.trace(trace.rjust(32, "0")), "an exemplar leads to its trace"
    firing = eventually(
        lambda: [a for a in prometheus.get("/api/v1/alerts")["alerts"] if a["state"] == "firing"], "the alert fires", 40)
    assert firing[0]["labels"]["alertname"] == "BankFails"


def test_series_say_what_traceql_says(servers, tmp_path, receiver):
    """One truth: both count the same spans."""
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    push_calls(server, 7)
    push_calls(server, 3, client="admin", server="bank", name="audit", failed=True)
    push_calls(server, 2, client="shop", server="mail", name="send")
    start = int(time.time()) - 300
    query = {"start": start, "end": int(time.time()) + 60}

    def counted(traceql):
        answer = server.get("/api/metrics/query", q=traceql, **query)
        assert answer.status_code == 200, answer.text
        out = {}
        for series in answer.json()["series"]:
            labels = {label["key"]: next(iter(label["value"].values())) for label in series["labels"]}
            out[tuple(labels[key] for key in sorted(labels) if key != "__name__")] = series.get("value", 0)
        return out

    eventually(lambda: receiver.latest("traces_service_graph_request_total", connection_type="virtual_node") == 12, "all edges", 40)
    by_name = counted("{ } | count_over_time() by (name, resource.service.name)")
    assert by_name == receiver.latest("traces_spanmetrics_calls_total", by=("span_name", "service")), by_name
    errors = counted("{ status = error } | count_over_time() by (resource.service.name)")
    assert errors == receiver.latest("traces_spanmetrics_calls_total", by=("service",), status_code="STATUS_CODE_ERROR")
    graph = server.get("/api/service-graph", **query).json()["edges"]
    # By rates too: what a minute of the window held.
    window = query["end"] - query["start"]
    rates = counted("{ kind = server } | rate() by (resource.service.name)")
    calls = receiver.latest("traces_spanmetrics_calls_total", by=("service",), span_kind="SPAN_KIND_SERVER")
    assert {key: round(value * window, 3) for key, value in rates.items()} == calls, (rates, calls)
    # And by TraceQL's graph: its series lack the label that is empty.
    by_graph = counted("{ } | service_graph(calls)")
    assert sorted(by_graph.values()) == sorted(e["calls"] for e in graph), by_graph
    assert by_graph["shop", "bank"] == 7 and by_graph["admin", "bank"] == 3 and by_graph["shop", "mail"] == 2, by_graph
    edges = {(e["client"], e["server"], e["connectionType"]): e["calls"] for e in graph}
    assert edges == receiver.latest("traces_service_graph_request_total", by=("client", "server", "connection_type")), edges
    failed = {(e["client"], e["server"]): e["errors"] for e in graph if e["errors"]}
    assert failed == receiver.latest("traces_service_graph_request_failed_total", by=("client", "server"))


def test_the_page_is_openmetrics_that_prometheus_scrapes(servers, tmp_path):
    server = servers.start(config=generator(tmp_path))
    push_calls(server, 3)
    page = eventually(
        lambda: (answer := server.get("/metrics/generated", accept="application/openmetrics-text")).status_code == 200
        and "traces_service_graph_request_total" in answer.text and answer, "the page", 20)
    assert page.headers["Content-Type"].startswith("application/openmetrics-text")
    assert page.text.endswith("# EOF\n")
    assert 'traces_spanmetrics_calls_total{' in page.text and 'source="test"' in page.text
    scrape = {"scrape_configs": [{
        "job_name": "generated", "scrape_interval": "1s", "metrics_path": "/metrics/generated", "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{server.http_port}"]}]}]}
    prometheus = Prometheus(tmp_path / "prometheus", config=scrape).start()
    try:
        eventually(lambda: prometheus.value('sum(traces_spanmetrics_calls_total{service="bank"})') == 3, "scraped series", 30)
        assert prometheus.value('up{job="generated"}') == 1
        found = prometheus.get("/api/v1/query_exemplars", query="traces_spanmetrics_latency_bucket",
                               start=time.time() - 300, end=time.time())
        assert found, "no exemplar was scraped"
    finally:
        prometheus.close()


def test_pages_are_of_one_tenant(servers, tmp_path):
    server = servers.start(config={**generator(tmp_path), "multitenancy_enabled": True})
    push_calls(server, 1, headers={"X-Scope-OrgID": "a"})
    eventually(lambda: "traces_spanmetrics" in server.get("/metrics/generated", headers={"X-Scope-OrgID": "a"}).text, "series of a")
    other = server.get("/metrics/generated", headers={"X-Scope-OrgID": "b"})
    assert (other.status_code, "traces_" in other.text) == (200, False)
    assert server.get("/metrics/generated").status_code == 401


METRICS = [
    "tempo_metrics_generator_" + name for name in (
        "active_processors", "spans_received_total", "bytes_received_total", "spans_discarded_total", "registry_active_series",
        "registry_max_active_series", "registry_series_added_total", "registry_series_removed_total", "registry_series_limited_total",
        "registry_active_series_demand_estimate", "registry_collections_total",
        "processor_service_graphs_edges", "processor_service_graphs_expired_edges", "processor_service_graphs_dropped_spans")
] + [
    "tempo_distributor_" + name for name in (
        "metrics_generator_pushes_total", "metrics_generator_clients", "queue_length", "queue_pushes_total", "forwarder_pushes_total")
] + [
    "prometheus_remote_storage_" + name for name in (
        "samples_total", "samples_failed_total", "samples_retried_total", "samples_pending", "exemplars_total", "bytes_total",
        "shards", "shards_desired", "shards_max", "shards_min", "highest_timestamp_in_seconds", "queue_highest_sent_timestamp_seconds",
        "sent_batch_duration_seconds_bucket")
]


def test_metrics_have_the_names_that_dashboards_use(servers, tmp_path, receiver):
    server = servers.start(config=generator(tmp_path, [receiver.write_url], limits={"max_active_series": 1000}))
    push_calls(server, 2)
    eventually(lambda: receiver.latest("traces_service_graph_request_total", connection_type="virtual_node") == 2, "series", 40)
    active = "tempo_metrics_generator_registry_active_series"
    eventually(lambda: server.metric(active) == len(receiver.samples()), "all series, and no other")
    samples = server.metrics()
    names = {re.split("{", key)[0] for key in samples}
    assert not set(METRICS) - names, sorted(set(METRICS) - names)
    tenant = '{tenant="single-tenant"}'
    prefix = "tempo_metrics_generator_"
    assert samples[f"{prefix}spans_received_total{tenant}"] == 6
    assert samples[f"{prefix}registry_max_active_series{tenant}"] == 1000
    ring = {key: value for key, value in samples.items() if key.startswith("tempo_ring_members{") and '"metrics-generator"' in key}
    assert sum(ring.values()) == 1, ring


def test_header_takes_a_push_out(servers, tmp_path, receiver):
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    push_calls(server, 2, headers={"no-generate-metrics": ""}, client="quiet")
    push_calls(server, 1)
    with otlp.GrpcExporter(server.otlp_grpc_port) as exporter:
        quiet = otlp.export(otlp.span(name="quiet", kind=Span.SPAN_KIND_SERVER), service="quiet")
        exporter.export(quiet, metadata=[("no-generate-metrics", "")])
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="shop") == 2, "the counted spans")
    assert receiver.latest("traces_spanmetrics_calls_total", service="quiet") == 0
    # Two requests a call, and each of the two processors counts.
    skipped = "tempo_metrics_generator_metrics_generation_skipped_processor_pushes_total"
    eventually(lambda: server.metric(skipped) == 2 * (2 * 2 + 1), "skipped pushes")


def test_tempos_protocol_is_served(servers, tmp_path, receiver):
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    request = otlp.export(otlp.span(name="by gRPC", kind=Span.SPAN_KIND_SERVER), service="edge")
    # The fields have the numbers of an export request.
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        method = channel.unary_unary("/tempopb.MetricsGenerator/PushSpans")
        assert method(request.SerializeToString(), metadata=[("x-scope-orgid", "single-tenant")], timeout=10) == b""
        with pytest.raises(grpc.RpcError) as refused:
            method(b"\x0a\x02\x12\xff", timeout=10)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as missing:
            channel.unary_unary("/tempopb.MetricsGenerator/QueryRange")(b"", timeout=10)
        assert missing.value.code() == grpc.StatusCode.UNIMPLEMENTED
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="edge") == 1, "the span's series")


def test_limits_change_what_is_generated_while_it_runs(servers, tmp_path, receiver):
    file = tmp_path / "overrides.yaml"

    def of_tenant(**limits):
        ingestion = {"rate_limit_bytes": 10**9, "burst_size_bytes": 10**9}
        file.write_text(yaml.safe_dump({"overrides": {"single-tenant": {"ingestion": ingestion, "metrics_generator": limits}}}))

    of_tenant(processors=["span-metrics-count", "local-blocks", "no-such-processor"])
    config = generator(tmp_path, [receiver.write_url])
    config["overrides"] |= {"per_tenant_override_config": str(file), "per_tenant_override_period": "1s"}
    server = servers.start(config=config)
    push_calls(server, 1)
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 1, "calls")
    logged = server.logs()
    assert "no-such-processor" in logged and "ignoring processor local-blocks" in logged
    assert not {name for name in receiver.names() if "calls_total" not in name}

    of_tenant(processors=["span-metrics-count", "service-graphs"])

    def edges():
        push_calls(server, 1)
        return receiver.latest("traces_service_graph_request_total", client="shop") >= 1

    eventually(edges, "the second processor", 40, interval=0.5)
    # The first one went on counting: nothing about it changed.
    values = [v for key, points in receiver.samples().items() if ("__name__", "traces_spanmetrics_calls_total") in key
              and ("service", "bank") in key for _, v in points]
    assert values == sorted(values)

    of_tenant(processors=[])
    active = 'tempo_metrics_generator_active_processors{tenant="single-tenant",processor="service-graphs"}'
    other = 'tempo_metrics_generator_active_processors{processor="service-graphs",tenant="single-tenant"}'

    def has_none():
        metrics = server.metrics()
        return metrics.get(active, metrics.get(other)) == 0

    eventually(has_none, "no processor is left", 40)
    eventually(lambda: "traces_" not in server.get("/metrics/generated").text, "its series are gone", 40)


def test_a_shorter_interval_does_not_wait_for_the_end_of_the_longer_one(servers, tmp_path, receiver):
    file = tmp_path / "overrides.yaml"

    def collect_each(interval):
        limits = {"processors": ["span-metrics-count"], "collection_interval": interval}
        ingestion = {"rate_limit_bytes": 10**9, "burst_size_bytes": 10**9}
        file.write_text(yaml.safe_dump({"overrides": {"single-tenant": {"ingestion": ingestion, "metrics_generator": limits}}}))

    collect_each("10m")
    config = generator(tmp_path, [receiver.write_url])
    config["overrides"] |= {"per_tenant_override_config": str(file), "per_tenant_override_period": "100ms"}
    server = servers.start(config=config)
    push_calls(server, 1)
    eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") == 3, "the spans are counted")
    time.sleep(1)
    assert not receiver.samples()
    collect_each("1s")
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", service="bank") == 1, "a collection", 30)


def test_a_tenant_that_was_silent_for_long_comes_back_with_a_zero(servers, tmp_path, receiver):
    need("cc")
    clock = JumpingClock(tmp_path, monotonic=True)
    config = generator(tmp_path, [receiver.write_url], processors=["span-metrics-count"])
    config["metrics_generator"]["registry"]["stale_duration"] = "60s"
    server = servers.start(config=config, env=clock.env)

    def now():
        return time.time() + clock.seconds

    def push():
        server.session.close()  # its connections were idle for as long as the clock jumped
        server.must_push(otlp.export(otlp.span(start=int(now() * 10**9) - 10 * MS), service="job"))

    def samples():
        return [sample for key, found in receiver.samples().items() if ("service", "job") in key for sample in found]

    push()
    eventually(samples, "the first run", 40)
    # Series go after 5 minutes, the tenant after 10.
    for seconds in range(55, 30 * 55, 55):
        clock.jump(seconds)
        time.sleep(2)
        if "metrics generator dropped an idle tenant" in server.logs():
            break
    else:
        pytest.fail("the tenant is still there")
    # In the middle of a minute: the zero is older than the push, and newer than the first run.
    if not 15 < now() % 60 < 45:
        clock.jump(clock.seconds + 30)
    back = now() * 1000
    push()
    eventually(lambda: any(at > back for at, _ in samples()), "the second run", 40)
    assert [value for at, value in sorted(samples()) if at > back - 61_000][:2] == [0, 1]


def test_tenants_change_their_own_by_the_api(servers, tmp_path, receiver):
    config = generator(tmp_path, [receiver.write_url], processors=[])
    config["overrides"]["user_configurable_overrides"] = {
        "enabled": True, "client": {"backend": "local", "local": {"path": str(tmp_path / "overrides")}}}
    server = servers.start(config=config)
    push_calls(server, 1)
    answer = requests.post(
        server.url + "/api/overrides", headers={"If-Match": "0"}, timeout=10,
        json={"metrics_generator": {"processors": ["span-metrics"], "processor": {"span_metrics": {"dimensions": ["scope.of.it"]}}}})
    assert answer.status_code == 200, answer.text

    def counted():
        server.must_push(otlp.export(otlp.span(name="mine", attributes={"scope.of.it": "yes"}), service="own"))
        return receiver.latest("traces_spanmetrics_calls_total", span_name="mine", scope_of_it="yes")

    eventually(counted, "series with the dimension", 40, interval=0.5)


def test_explosion_of_labels_is_held_at_the_limit(servers, tmp_path, receiver):
    limits = {"max_active_series": 500}
    server = servers.start(config=generator(tmp_path, [receiver.write_url], processors=["span-metrics"], limits=limits))
    before = server.resident_bytes()
    spans = 20_000
    for first in range(0, spans, 2000):
        server.must_push(otlp.export(*(otlp.span(name=f"GET /users/{n}") for n in range(first, first + 2000))))
    eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") == spans, "all spans", 60)
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total") == spans, "no span is lost", 40)
    active = server.metric("tempo_metrics_generator_registry_active_series")
    assert 400 < active <= 500
    assert server.metric("tempo_metrics_generator_registry_series_limited_total") > 10_000
    assert "reached max active series" in server.logs()
    assert receiver.latest("traces_spanmetrics_calls_total", metric_overflow="true") > spans - 100
    assert len(receiver.samples()) < 600
    assert server.resident_bytes() < before + (256 << 20)


def test_late_spans_are_left_out_and_counted(servers, tmp_path, receiver):
    server = servers.start(config=generator(tmp_path, [receiver.write_url]))
    now = time.time_ns()
    late = [otlp.span(name="late", start=now - 60 * 10**9) for _ in range(3)]
    server.must_push(otlp.export(*late, otlp.span(name="good"), service="edge"))
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", span_name="good") == 1, "the good span")
    assert receiver.latest("traces_spanmetrics_calls_total", span_name="late") == 0
    discarded = {k: v for k, v in server.metrics().items() if k.startswith("tempo_metrics_generator_spans_discarded_total") and v}
    assert list(discarded.values()) == [3] and "outside_metrics_ingestion_slack" in next(iter(discarded))
    assert server.metric("tempo_metrics_generator_spans_received_total") == 4


def test_size_is_that_of_the_whole_span(servers, tmp_path, receiver):
    """Also of what no block keeps, such as the flags that SDKs send."""
    server = servers.start(config=generator(tmp_path, [receiver.write_url], processors=["span-metrics-size"]))
    sent = otlp.span(name="flagged", flags=0x101, trace_state="a=b", attributes={"n": 1}, status=ERROR)
    sent.links.add(trace_id=sent.trace_id, span_id=sent.span_id, flags=1)
    server.must_push(otlp.export(sent))
    eventually(
        lambda: receiver.latest("traces_spanmetrics_size_total", span_name="flagged") == sent.ByteSize(), "the size of the span")


def test_what_is_left_out_of_storage_counts_as_documented(servers, tmp_path, receiver):
    """Refused and dropped by a rule: no. Dropped by tail sampling: yes."""
    config = generator(tmp_path, [receiver.write_url], processors=["span-metrics-count"], limits={})
    config["distributor"] = {"drop_rules": [{"name": "health", "query": '{ name = "/healthz" }', "action": "drop"}]}
    config["tail_sampling"] = {"decision_wait": "500ms", "policies": [
        {"name": "errors", "type": "traceql", "traceql": {"query": "{ status = error }"}}]}
    config["ingester"] = {"trace_idle_period": "200ms", "trace_live_period": "500ms", "flush_check_period": "100ms"}
    config["overrides"]["defaults"]["ingestion"] |= {"rate_limit_bytes": 1000, "burst_size_bytes": 50_000}
    server = servers.start(config=config)
    stored = otlp.span(name="fine")
    server.must_push(otlp.export(stored, otlp.span(name="/healthz"), otlp.span(name="failed", status=ERROR)))

    def large(name):
        return otlp.export(*(otlp.span(name=name, attributes={"pad": "x" * 1000}) for _ in range(40)))

    server.must_push(large("fine"))
    assert server.push(large("refused")).status_code == 429
    eventually(lambda: server.trace(stored.trace_id.hex()) is None, "tail sampling dropped the trace", 40)
    calls = {("fine",): 41, ("failed",): 1}
    eventually(lambda: receiver.latest("traces_spanmetrics_calls_total", by=("span_name",)) == calls, "what counts", 40)
    collections = "tempo_metrics_generator_registry_collections_total"
    before = server.metric(collections)
    eventually(lambda: server.metric(collections) > before + 1, "two more collections")
    assert receiver.latest("traces_spanmetrics_calls_total", by=("span_name",)) == calls


def test_halves_of_calls_meet_in_any_order_and_count_as_often_as_they_are_sent(servers, tmp_path, receiver):
    config = generator(tmp_path, [receiver.write_url])
    config["metrics_generator"]["processor"]["service_graphs"]["wait"] = "10s"
    server = servers.start(config=config)
    for _ in range(5):
        caller, callee = call()
        server.must_push(callee)
        time.sleep(0.3)
        server.must_push(caller)
    # A client that sends again counts twice, like at Tempo.
    caller, callee = call(client="twice")
    for request in (caller, callee, caller, callee):
        server.must_push(request)
    # A caller that comes after `wait` meets nobody.
    late, lost = call(client="late", server="lost")
    server.must_push(lost)

    def edge(client):
        return sum(value for (_, kind), value in receiver.latest(
            "traces_service_graph_request_total", by=("server", "connection_type"), client=client).items() if kind == "")

    eventually(lambda: edge("shop") == 5, "calls whose answer came first", 40)
    eventually(lambda: edge("twice") == 2, "calls that were sent twice", 40)
    expired = "tempo_metrics_generator_processor_service_graphs_expired_edges"
    eventually(lambda: server.metric(expired) == 1, "the half that nobody answered", 40)
    server.must_push(late)
    eventually(lambda: server.metric(expired) == 2, "the other half", 40)
    assert edge("late") == 0
    assert receiver.latest("traces_spanmetrics_calls_total", service="lost") == 1


def test_without_processors_or_path_nothing_is_there(servers, tmp_path):
    idle = servers.start("idle", config=generator(tmp_path, processors=[]))
    off = servers.start("off")
    for server in (idle, off):
        push_calls(server, 1)
        names = server.get("/metrics").text
        assert "tempo_metrics_generator_spans_received_total{" not in names
        assert 'name="metrics-generator",tenant=' not in names
    assert "metrics-generator" in idle.get("/status/services").text
    assert "metrics-generator Running" not in off.get("/status/services").text
    assert off.get("/metrics/generated").status_code == 404


def test_target_needs_a_path(servers):
    server = servers.new(config={"target": "metrics-generator"})
    server.spawn()
    assert server.process.wait(60) == 1
    assert "metrics_generator.storage.path" in server.logs()
