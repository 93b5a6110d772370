"""What dashboards and alerts made for Tempo select: every expression of conformance/self_monitoring.yaml, asked of a real Prometheus that
scrapes a real cluster and receives what its metrics generator makes; and every query of the dashboards and alerts of deploy/. And the page
of metrics itself, read by the strict parsers of Prometheus' Python client."""
import copy
import json
import math
import os
import re
import time

import pytest
import requests
import yaml
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from harness import otlp
from harness.caches import Memcached
from harness.checker import Checker
from harness.cluster import Cluster
from harness.disk import Ballast, SmallDisk
from harness.fault_proxy import FaultProxy
from harness.generator import push_calls
from harness.paths import CONFORMANCE, REPOSITORY
from harness.ports import free_ports
from harness.prometheus import Prometheus
from harness.promql import metric_names
from harness.servers import Servers
from harness.waiting import GiveUp, eventually

GROUPS = yaml.safe_load((REPOSITORY / "deploy/prometheus/rules.yaml").read_text())["groups"]
SHIPPED = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"]: rule["expr"] for rule in SHIPPED if "record" in rule}
ALERTS = {rule["alert"]: rule["expr"] for rule in SHIPPED if "alert" in rule}
# Those that fire only when their condition has lasted.
WAITING = {rule["alert"] for rule in SHIPPED if "for" in rule}
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((REPOSITORY / "deploy/grafana/dashboards").glob("*.json"))]
TENANTS = ("shop", "small")
WANTED = yaml.safe_load((CONFORMANCE / "self_monitoring.yaml").read_text())
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
COUNTS = {"ingester": 1, "distributor": 1, "query-frontend": 1, "querier": 1, "compactor": 1, "metrics-generator": 1}
# Nobody listens there: traces are recorded, and lost.
TRACED = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
LIMITS = {"overrides": {
    "shop": {
        "forwarders": ["copy"],
        "metrics_generator": {
            "processors": ["span-metrics", "service-graphs"], "generate_native_histograms": "both", "max_active_series": 100_000,
            "processor": {"service_graphs": {"dimensions": ["service.namespace"], "enable_client_server_prefix": True}}}},
    # Nothing fits.
    "small": {"ingestion": {"rate_limit_bytes": 1, "burst_size_bytes": 1}},
}}
# Calls that may wait for their other side.
MAX_CALLS = 500


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A server that has done a bit of everything, and traces itself."""
    group = Servers(tmp_path_factory.mktemp("busy"))
    server = group.start("busy", env=TRACED)
    otlp.push_trace(server)
    for query in ("{}", "{ &&", "{ } | rate()"):
        server.get("/api/search", q=query)
    server.get("/api/traces/ff")
    server.get("/api/metrics/query_range", q="{} | rate()")
    server.flush()
    eventually(lambda: server.metric("tempodb_blocklist_length") == 1, "the block is in the list")
    yield server
    group.close()


def page(server, accept):
    response = server.get("/metrics", accept=accept)
    assert response.status_code == 200
    assert "accept" in re.split(r",\s*", response.headers["Vary"].lower()), response.headers
    return response.headers["Content-Type"], response.text


def series(families, text):
    """Samples by name and labels. Bounds of buckets are numbers: the formats spell them differently."""
    names, out = set(re.findall(r"^[a-z_]+", text, re.MULTILINE)), {}
    for family in families:
        for sample in family.samples:
            # The parser of the classic format adds what counters should end in.
            name = sample.name if sample.name in names else sample.name.removesuffix("_total")
            assert name in names, sample
            labels = {k: float(v) if k == "le" else v for k, v in sample.labels.items()}
            key = (name, tuple(sorted(labels.items())))
            assert key not in out, f"{key} twice"
            out[key] = sample
    return out


def test_both_formats_hold_the_same_series(busy):
    kind, text = page(busy, "text/plain;version=0.0.4")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    classic = series(text_string_to_metric_families(text), text)
    kind, text = page(busy, OPENMETRICS)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8" and text.endswith("# EOF\n")
    strict = series(openmetrics_parser.text_string_to_metric_families(text), text)
    # The page that was read first counts in the second, at most.
    others = {key for key in classic.keys() ^ strict.keys() if dict(key[1]).get("route") != "metrics"}
    assert not others and len(classic) > 300, sorted(others)[:5]


def test_names_in_the_text_format_are_as_they_always_were(busy):
    text = page(busy, "text/plain")[1]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds["tempo_receiver_accepted_spans"] == "counter" and kinds["tempo_ring_tokens_total"] == "gauge"
    assert kinds["tempo_distributor_spans_received_total"] == "counter"
    assert kinds["tempo_request_duration_seconds"] == "histogram"
    bounds = set(re.findall(r'^tempo_request_duration_seconds_bucket\{[^}]*le="([^"]+)"', text, re.MULTILINE))
    assert bounds == {"0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "1.5", "2.5", "5", "10", "25", "50", "100", "+Inf"}
    assert 'le="1.048576e+06"' in text and " # {" not in text and "# EOF" not in text


def test_format_is_negotiated(busy):
    for accept, expected in {
            "*/*": "text/plain", "text/html": "text/plain", "application/openmetrics-text": "application/openmetrics-text",
            # As Prometheus 2 asks.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": "application/openmetrics-text",
            "text/plain, application/openmetrics-text;q=0.1": "text/plain",
            # A version that is not written.
            "application/openmetrics-text;version=2.0.0, text/plain;q=0.1": "text/plain"}.items():
        kind, text = page(busy, accept)
        assert kind.startswith(expected) and text.endswith("# EOF\n") == (expected != "text/plain"), accept


def test_latencies_have_traces_as_exemplars(busy):
    families = openmetrics_parser.text_string_to_metric_families(page(busy, OPENMETRICS)[1])
    exemplars = {
        sample.exemplar.labels["trace_id"] for family in families if family.name == "tempo_request_duration_seconds"
        for sample in family.samples if sample.exemplar and sample.labels["route"] == "api_search"}
    assert exemplars and all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in exemplars)


def test_usage_has_a_page_of_its_own_in_both_formats(servers):
    server = servers.start(config={
        "distributor": {"usage": {"cost_attribution": {"enabled": True}}},
        "overrides": {"defaults": {"cost_attribution": {"dimensions": {"resource.service.name": "service", "team": ""}}}}})
    otlp.push_trace(server, service='a "b" \\c')
    usage = "tempo_usage_tracker_bytes_received_total"
    expected = (usage, (
        ("service", 'a "b" \\c'), ("team", "__missing__"), ("tenant", "single-tenant"), ("tracker", "cost-attribution")))
    for accept, parse in (
            ("text/plain", text_string_to_metric_families), (OPENMETRICS, openmetrics_parser.text_string_to_metric_families)):
        response = server.get("/usage_metrics", accept=accept)
        assert response.headers["Content-Type"].startswith(accept.split(";")[0])
        found = series(parse(response.text), response.text)
        assert list(found) == [expected] and found[expected].value > 100


def test_without_self_tracing_there_are_no_exemplars(servers):
    server = servers.start()
    server.get("/api/search", q="{}")
    assert " # {" not in page(server, OPENMETRICS)[1]


def test_without_a_file_of_overrides_there_is_none_to_be_bad(busy):
    assert "tempo_runtime_config_last_reload_successful" not in page(busy, "text/plain")[1]


# --- Prometheus ------------------------------------------------------------------------------------------------------


class Monitored:
    """A cluster on storage that can fail, with a Prometheus that scrapes it and evaluates the rules and alerts."""

    def __init__(self, directory, s3_server):
        self.directory, self.bucket = directory, s3_server.new_bucket()
        self.storage = FaultProxy(s3_server.port)
        self.cache = Memcached(directory)
        self.limits = directory / "overrides.yaml"
        self.generator_disk = SmallDisk(directory / "generator")
        self.traces = []

    def __enter__(self):
        self.storage.__enter__()
        self.cache.start()
        self.write_limits(LIMITS)
        self.generator_disk.__enter__()
        (prometheus_port,) = free_ports(1)
        config = {
            "multitenancy_enabled": True,
            "distributor": {"forwarders": [{
                "name": "copy", "backend": "otlpgrpc", "otlpgrpc": {"endpoints": ["127.0.0.1:1"], "tls": {"insecure": True}}}]},
            "ingester": {
                "lifecycler": {"ring": {"replication_factor": 1}}, "max_block_duration": "2s", "flush_check_period": "100ms"},
            "metrics_generator": {
                "registry": {"collection_interval": "1s"},
                "processor": {
                    "span_metrics": {"aliases": ["otel_seconds", "otel_milliseconds"], "dimensions": ["team"]},
                    "service_graphs": {"wait": "3s", "max_items": MAX_CALLS}},
                "storage": {
                    "path": str(self.generator_disk.path),
                    "remote_write": [{"url": f"http://127.0.0.1:{prometheus_port}/api/v1/write"}]},
            },
            "cache": {"caches": [{"roles": ["bloom", "parquet-footer", "parquet-page"], **self.cache.config()}]},
            "storage": {"trace": {"blocklist_poll": "500ms"}},
            "overrides": {
                "per_tenant_override_config": str(self.limits), "per_tenant_override_period": "500ms",
                "user_configurable_overrides": {"enabled": True, "poll_interval": "500ms", "client": {
                    "backend": "local", "local": {"path": str(self.directory / "limits")}}}},
        }
        storage = self.bucket.config(port=self.storage.port)
        self.cluster = Cluster(self.directory / "cluster", None, COUNTS, config=config, storage=storage, env=TRACED)
        self.cluster.start()
        self.checker = Checker(
            self.directory / "checker", self.cluster["distributor-0"].otlp_url, self.cluster["query-frontend-0"].url,
            "--org-id", "checked", interval="1s", ages="2s", late="0s").start()
        self.prometheus = Prometheus(
            self.directory / "prometheus", self._scrapes(), list(self._rules()), port=prometheus_port).start()
        return self

    def __exit__(self, kind, *rest):
        self.storage.set("pass")
        self.prometheus.close()
        self.checker.__exit__(kind, *rest)
        if kind is not None:
            self.cluster.tails()
        self.cluster.__exit__(kind, *rest)
        self.generator_disk.__exit__()
        self.cache.close()
        self.storage.__exit__()

    def write_limits(self, limits):
        text = limits if isinstance(limits, str) else yaml.safe_dump(limits)
        whole = self.limits.with_suffix(".new")
        whole.write_text(text)
        os.replace(whole, self.limits)

    def _scrapes(self):
        """Every process, with the labels that charts give."""
        targets = [{
            "targets": [f"{node.address}:{node.http_port}"],
            "labels": {
                "cluster": "c", "namespace": "n", "job": f"n/{node.target}", "container": node.target, "pod": node.name},
        } for node in self.cluster.nodes.values()]
        targets.append({"targets": [self.checker.address], "labels": {"cluster": "c", "namespace": "n", "job": "n/checker"}})
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "tactus", "static_configs": targets}],
        }

    @staticmethod
    def _rules():
        for record, expression in RECORDED.items():
            yield {"record": record, "expr": expression}
        # Without any time to wait: a test does not last so long.
        for name, expression in ALERTS.items():
            yield {"alert": name, "expr": expression}
        for name, alert in WANTED["alerts"].items():
            yield {"alert": name, "expr": f"{alert['watches']} {alert['fires']}"}

    def push(self, tenant, body):
        requests.post(
            self.cluster["distributor-0"].otlp_url + "/v1/traces", data=body, timeout=10,
            headers={"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant})

    def use(self):
        """One round of what clients do."""
        frontend = self.cluster["query-frontend-0"]
        for tenant in TENANTS:
            spans = otlp.trace(4)
            self.push(tenant, otlp.export(*spans).SerializeToString())
            if tenant == "shop":
                self.traces.append(spans[0].trace_id.hex())
        self.call(3)
        self.call(1, failed=True)
        now = int(time.time())
        tenant, window = {"X-Scope-OrgID": "shop"}, {"start": now - 600, "end": now + 60}
        for path, parameters in (
                (f"/api/traces/{self.traces[-1]}", {}), (f"/api/v2/traces/{self.traces[0]}", {}),
                ("/api/search", {"q": "{ name = `root` }", **window}), ("/api/v2/search/tags", window),
                ("/api/v2/search/tag/resource.service.name/values", window),
                ("/api/metrics/query_range", {"q": "{} | rate()", "step": "60s", **window})):
            frontend.get(path, headers=tenant, **parameters)

    def call(self, count, **fields):
        """Calls between services of tenant `shop`."""
        push_calls(
            self.cluster["distributor-0"], count, headers={"X-Scope-OrgID": "shop"}, namespaces=("front", "back"), **fields)

    def has_value(self, expression):
        """Whether a panel shows something."""
        variable = re.fullmatch(r"label_values\((.*), (\w+)\)", expression)
        if variable:
            return bool(self.prometheus.get(f"/api/v1/label/{variable[2]}/values", **{"match[]": variable[1]}))
        return any(not math.isnan(value) for _, value in self.prometheus.query(expression))

    def alerts(self):
        """Those that fire."""
        return [alert for alert in self.prometheus.get("/api/v1/alerts")["alerts"] if alert["state"] == "firing"]

    def chosen(self, query, tenant):
        """A query of a dashboard as Grafana asks it, with everything chosen at the top."""
        for variable, value in {"__rate_interval": "1m", "cluster": "c", "namespace": "n", "tenant": tenant}.items():
            query = query.replace(f"${variable}", value)
        assert "$" not in query, query
        return query

    def shows(self, target):
        """Whether a query of a panel has a value, and the labels that its legend names."""
        wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        for tenant in TENANTS:
            rows = self.prometheus.query(self.chosen(target["expr"], tenant))
            if any(not math.isnan(value) and wanted <= labels.keys() for labels, value in rows):
                return True
        return False

    def unknown_metrics(self, expressions):
        """Names of metrics that no process has; the expressions are valid."""
        for expression in expressions:
            self.prometheus.get("/api/v1/format_query", query=expression)
        known = set(self.prometheus.get("/api/v1/label/__name__/values"))
        return set().union(*map(metric_names, expressions)) - known

    def firing(self):
        return {alert["labels"]["alertname"] for alert in self.alerts()}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory, s3_server):
    with Monitored(tmp_path_factory.mktemp("monitored"), s3_server) as monitored:
        yield monitored


def test_every_expression_of_dashboards_and_alerts_finds_its_series(monitored):
    expressions = [expression for panels in WANTED["panels"].values() for expression in panels]
    expressions += [*WANTED["rules"], *(alert["watches"] for alert in WANTED["alerts"].values())]
    assert len(expressions) > 100

    def all_found():
        monitored.use()
        # What was found once is found: a rate of something rare may have ended before the last one begins.
        expressions[:] = [expression for expression in expressions if not monitored.has_value(expression)]
        assert not expressions, "\n".join(expressions)
        return True

    eventually(all_found, "every expression has a value", 120, interval=0.5)


def test_every_panel_of_our_dashboards_shows_something(monitored):
    targets = [
        (f"{board['title']}, {panel['title']}", target)
        for board in DASHBOARDS for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(targets) > 120

    def all_shown():
        monitored.use()
        targets[:] = [(where, target) for where, target in targets if not monitored.shows(target)]
        assert not targets, "\n".join(f"{where}: {target['expr']}" for where, target in targets)
        return True

    eventually(all_shown, "every panel shows something", 120, interval=0.5)


def test_drop_downs_of_our_dashboards_have_values(monitored):
    definitions = {variable["definition"] for board in DASHBOARDS for variable in board["templating"]["list"] if variable["type"] == "query"}
    assert len(definitions) == 3
    for definition in definitions:
        assert monitored.has_value(monitored.chosen(definition, "shop")), definition


def test_every_metric_of_our_dashboards_and_alerts_exists(monitored):
    panels = [
        monitored.chosen(target["expr"], "shop")
        for board in DASHBOARDS for panel in board["panels"] for target in panel.get("targets", [])]
    expressions = [*panels, *RECORDED.values(), *ALERTS.values()]
    # A process has series of the cache that it uses, and this cluster uses memcached.
    # It limits series, not entities.
    of_others = {"tempo_rediscache_request_duration_seconds_count", "tempo_metrics_generator_registry_entities_limited_total"}
    assert monitored.unknown_metrics(expressions) == of_others
    table = (REPOSITORY / "docs/operations/metrics.md").read_text()
    assert all(name.removesuffix("_count") in table for name in of_others)
    # A name that is not there is noticed, wherever it stands.
    wrong = 'sum by (job) (rate(tempo_request_duration_seconds_count{route="x"}[5m])) > 0 * sum by (job) (tempo_no_such_metric offset 1m)'
    assert monitored.unknown_metrics([wrong]) == {"tempo_no_such_metric"}


def test_links_from_spans_lead_to_series_of_the_generator(monitored):
    sources = yaml.safe_load((REPOSITORY / "deploy/grafana/provisioning/datasources/tactus.yaml").read_text())["datasources"]
    (tempo,) = [source["jsonData"] for source in sources if source["type"] == "tempo"]
    spans = otlp.export(otlp.span(name="POST /pay", kind=otlp.Span.SPAN_KIND_SERVER), service="till").SerializeToString()
    tags = ", ".join(f'{tag["value"]}="{value}"' for tag, value in zip(tempo["tracesToMetrics"]["tags"], ("till", "POST /pay")))

    def all_found():
        monitored.push("shop", spans)
        for query in tempo["tracesToMetrics"]["queries"]:
            # A single $ in what Grafana reads is a variable of its process.
            asked = query["query"].replace("$$", "$").replace("$__tags", tags)
            assert metric_names(asked) <= set(monitored.prometheus.get("/api/v1/label/__name__/values")), asked
            if "STATUS_CODE_ERROR" not in asked:
                assert monitored.has_value(asked), asked
        return True

    eventually(all_found, "a span's service has rates and durations", 60, interval=0.5)


def test_targets_are_scraped_as_openmetrics_without_complaint(monitored):
    prometheus = monitored.prometheus

    def all_up():
        targets = prometheus.get("/api/v1/targets")["activeTargets"]
        return len(targets) == len(monitored.cluster.nodes) + 1 and all(t["health"] == "up" for t in targets)

    eventually(all_up, "every process is scraped")
    kinds = {row["type"] for row in prometheus.get("/api/v1/metadata", metric="tempo_receiver_accepted_spans")["tempo_receiver_accepted_spans"]}
    assert kinds == {"unknown"}, "only OpenMetrics has that type"
    rejected = prometheus.query('scrape_samples_scraped - scrape_samples_post_metric_relabeling != 0')
    assert not rejected
    log = (prometheus.directory / "log").read_text()
    assert not [line for line in log.splitlines() if "level=warn" in line and "scrape" in line]


def test_prometheus_keeps_traces_as_exemplars(monitored):
    def exemplars():
        monitored.use()
        now = time.time()
        found = monitored.prometheus.get(
            "/api/v1/query_exemplars", query='tempo_request_duration_seconds_bucket{route="api_search"}', start=now - 300, end=now)
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    found = eventually(exemplars, "exemplars", interval=0.5)
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in found)


def test_no_alert_fires_while_all_is_well(monitored):
    monitored.use()

    def all_evaluated():
        rules = [rule for group in monitored.prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        failed = [rule for rule in rules if rule["health"] == "err"]
        if failed:
            raise GiveUp(failed)
        return len(rules) == len(SHIPPED) + len(WANTED["alerts"]) and {rule["health"] for rule in rules} == {"ok"}

    eventually(all_evaluated, "every rule is evaluated", 60)
    # One tenant has a limit that nothing fits into, and nobody listens where the forwarder sends to.
    assert monitored.firing() <= {"TactusRateLimited", "TactusForwardingFails"}


def test_rules_that_are_recorded_are_those_of_tempo():
    def words(rules):
        return {name: "".join(expression.split()).replace("0.50", "0.5") for name, expression in rules.items()}

    assert words(RECORDED) == words(WANTED["rules"])


@pytest.mark.parametrize("page", ["runbook", "metrics-generator"])
def test_rules_of_the_documentation_are_promql(monitored, page):
    text = (REPOSITORY / f"docs/operations/{page}.md").read_text()
    rules = re.findall(r"^```promql\n(.*?)```$", text, re.MULTILINE | re.DOTALL)
    assert len(rules) > 2
    for rule in rules:
        monitored.prometheus.query(rule)


def limits_with(**spans):
    """The limits, with more of the processor span-metrics for tenant `shop`."""
    limits = copy.deepcopy(LIMITS)
    limits["overrides"]["shop"]["metrics_generator"]["processor"]["span_metrics"] = spans
    return limits


@pytest.mark.parametrize("case", [
    "overrides_break", "limits_collide", "calls_overflow", "bank_fails", "generator_disk_full", "generator_dies", "storage_fails",
    "ingester_dies", "log_is_damaged"])
def test_alerts_fire_when_they_should(monitored, case):
    expected = {name for name, alert in WANTED["alerts"].items() if alert.get("fires_when") == case}
    assert expected
    # It would find what each case breaks, for an hour.
    if monitored.checker.process.poll() is None:
        assert monitored.checker.stop() == 0
    # Ours of the same names, too.
    expected |= {ours for name in expected if (ours := name.replace("Tempo", "Tactus")) in ALERTS}
    if case in ("limits_collide", "log_is_damaged"):
        assert not expected & WAITING, "it is counted once, so it does not last"
    if case == "overrides_break":
        monitored.write_limits("overrides: [")
    elif case == "limits_collide":
        # Right by itself: `team` is a dimension of the configuration.
        monitored.write_limits(limits_with(dimension_mappings=[{"name": "team", "source_labels": ["a", "b"], "join": "/"}]))
    elif case == "calls_overflow":
        kind = otlp.Span.SPAN_KIND_CLIENT
        waiting = otlp.export(*(otlp.span(kind=kind) for _ in range(4 * MAX_CALLS)))
        assert monitored.cluster["distributor-0"].push(waiting, headers={"X-Scope-OrgID": "shop"}).status_code == 200
    elif case == "bank_fails":
        monitored.call(500, failed=True)
        eventually(lambda: monitored.call(1, failed=True) or expected <= monitored.firing(), "alerts on series", 60, interval=0.5)
        (service,) = [alert["labels"] for alert in monitored.alerts() if alert["labels"]["alertname"] == "ServiceFails"]
        assert service["service"] == "bank"
    elif case == "generator_disk_full":
        if monitored.generator_disk.refused:
            pytest.skip(monitored.generator_disk.refused)
        ballast = Ballast(monitored.generator_disk.path)
        ballast.fill()
    elif case == "generator_dies":
        monitored.cluster["metrics-generator-0"].kill()
    elif case == "storage_fails":
        monitored.use()
        monitored.storage.set("error")
        monitored.cluster.flush_quietly()
    elif case == "ingester_dies":
        monitored.use()
        monitored.cluster["ingester-0"].kill()
    else:
        ingester = monitored.cluster["ingester-0"]

        def killed_with_a_log():
            """Its parts go when their spans are in segments, which may just have been."""
            if parts := not ingester.is_running() and list((ingester.wal / "log").glob("*.wal")):
                return parts
            if not ingester.is_running():
                ingester.start()
            monitored.call(1)
            ingester.kill()
            return list((ingester.wal / "log").glob("*.wal"))

        if ingester.is_running():
            watches = WANTED["alerts"]["TempoIngesterReplayErrors"]["watches"]
            eventually(lambda: monitored.use() or monitored.has_value(watches), "the count before the damage", interval=0.5)
        newest = max(eventually(killed_with_a_log, "a log is left", 60))
        newest.write_bytes(newest.read_bytes() + os.urandom(1000))
        ingester.start()
    eventually(lambda: expected <= monitored.firing(), f"{sorted(expected)} fire", 90, interval=0.5)
    if case == "generator_disk_full":
        ballast.drop()
    if case == "limits_collide":
        monitored.write_limits(LIMITS)
    if case == "overrides_break":
        monitored.write_limits(LIMITS)
        eventually(lambda: not expected & monitored.firing(), "it ends with its cause", interval=0.5)
    monitored.storage.set("pass")
