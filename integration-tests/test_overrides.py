"""Limits of tenants: the file, both its layouts, reload, status pages, and the API that tenants change their limits by."""
import json
import time

import pytest
import requests

from harness import otlp
from harness.waiting import eventually

RATE_LIMITED = 'tempo_discarded_spans_total{reason="rate_limited",tenant="%s"}'
RELOADED = 'tempo_runtime_config_last_reload_successful{config="overrides"}'


class Limited:
    """A server with a file of limits that is looked at often."""

    def __init__(self, servers, tmp_path, text, name="tactus", **config):
        self.path = tmp_path / "limits.yaml"
        self.path.write_text(text)
        overrides = {"per_tenant_override_config": str(self.path), "per_tenant_override_period": "100ms"}
        self.server = servers.start(name, config={
            "multitenancy_enabled": True,
            "overrides": {**overrides, **config.pop("overrides", {})},
            "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"},
            **config,
        })

    def push(self, tenant, *spans):
        return self.server.push(otlp.export(*spans), headers={"X-Scope-OrgID": tenant})


def limits_of(server, tenant):
    return server.get(f"/status/overrides/{tenant}").json()["runtime_overrides"]


def stored_api(directory):
    return {"user_configurable_overrides": {
        "enabled": True, "poll_interval": "200ms",
        "client": {"backend": "local", "local": {"path": str(directory)}},
    }}


@pytest.mark.parametrize("text", [
    "overrides:\n  refused: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 10}}\n",
    "overrides:\n  refused: {ingestion_rate_limit_bytes: 1, ingestion_burst_size_bytes: 10}\n",
], ids=["scoped", "flat"])
def test_rate_limit_holds_for_the_tenant_of_the_file_alone(servers, tmp_path, text):
    limited = Limited(servers, tmp_path, text)
    assert limited.push("refused", otlp.span()).status_code == 429
    assert limited.push("other", otlp.span()).status_code == 200
    assert limited.server.metrics()[RATE_LIMITED % "refused"] == 1


def test_written_zero_refuses_and_a_missing_rate_limit_does_not(servers, tmp_path):
    limited = Limited(servers, tmp_path, """
overrides:
  closed: {ingestion: {rate_limit_bytes: 0, burst_size_bytes: 0}}
  partial: {ingestion: {max_traces_per_user: 7}}
  "*": {global: {max_bytes_per_trace: 9}}
""")
    server = limited.server
    assert limited.push("partial", otlp.span()).status_code == 200
    page = limits_of(server, "partial")
    assert "max_traces_per_user: 7\n" in page and "max_bytes_per_trace: 0\n" in page
    assert "max_bytes_per_trace: 9\n" in limits_of(server, "anyone")
    assert limited.push("closed", otlp.span()).status_code == 429
    found = server.metrics()
    assert found['tempo_limits_overrides{limit_name="max_local_traces_per_user",user="partial"}'] == 7
    assert found['tempo_limits_overrides{limit_name="max_bytes_per_trace",user="*"}'] == 9
    assert found['tempo_limits_defaults{limit_name="ingestion_rate_limit_bytes"}'] == 1e9


def test_file_is_read_again_and_a_broken_one_changes_nothing(servers, tmp_path):
    limited = Limited(servers, tmp_path, "overrides: {a: {global: {max_bytes_per_trace: 100000}}}\n")
    server, trace_id = limited.server, b"\1" * 16
    big = [otlp.span(trace_id, attributes={"text": "x" * 1500}) for _ in range(20)]
    assert limited.push("a", *big).status_code == 200
    limited.path.write_text("overrides: {a: {nope: 1}}\n")
    eventually(lambda: server.metrics()[RELOADED] == 0, "the broken file is noticed")
    assert "max_bytes_per_trace: 100000\n" in limits_of(server, "a")
    assert server.logs().count("the old ones stay") == 1
    limited.path.write_text("overrides: {a: {global: {max_bytes_per_trace: 2000}}}\n")
    eventually(lambda: "max_bytes_per_trace: 2000\n" in limits_of(server, "a"), "the new limit is shown")
    assert server.metrics()[RELOADED] == 1

    def refused():
        # Limits hold from the next cut on.
        spans = [otlp.span(b"\2" * 16, attributes={"text": "x" * 1500}) for _ in range(5)]
        response = otlp.ExportTraceServiceResponse.FromString(limited.push("a", *spans).content)
        return response.partial_success.rejected_spans

    eventually(refused, "spans of a trace that is too large are refused")


def test_mistakes_of_one_tenant_hold_back_nobody_and_are_told(servers, tmp_path):
    """A name that no request can have, and a forwarder that is not there."""
    limited = Limited(servers, tmp_path, "overrides: {a: {global: {max_bytes_per_trace: 100000}}}\n")
    server = limited.server
    limited.path.write_text("overrides: {a: {global: {max_bytes_per_trace: 2000}}, team/b: {}, c: {forwarders: [nowhere]}}\n")
    eventually(lambda: "max_bytes_per_trace: 2000\n" in limits_of(server, "a"), "the new limits")
    assert server.metrics()[RELOADED] == 1
    server.stop()
    server.start()
    assert "max_bytes_per_trace: 2000\n" in limits_of(server, "a")
    for told in ("overrides of tenant team/b are ignored: no request can name this tenant",
                 'overrides of tenant c: forwarders: forwarder \\"nowhere\\" is not a known forwarder'):
        assert server.logs().count(told) == 2, server.logs()


@pytest.mark.parametrize("limits,reason", [
    ("processor: {span_metrics: {histogram_buckets: [2, 1]}}", "must be strictly increasing: bucket[1]=1 is <= bucket[0]=2"),
    ("remote_write_headers: {Content-Type: hidden}", "metrics_generator.remote_write_headers: Content-Type is a reserved header"),
])
def test_start_fails_on_a_bad_file_and_names_it(servers, tmp_path, limits, reason):
    path = tmp_path / "limits.yaml"
    path.write_text(f"overrides: {{shop: {{metrics_generator: {{{limits}}}}}}}\n")
    server = servers.new(config={"overrides": {"per_tenant_override_config": str(path)}})
    server.spawn()
    assert server.process.wait(30) == 1
    logs = server.logs()
    assert "failed to load runtime config" in logs and str(path) in logs
    assert "validating overrides for shop failed" in logs and reason in logs and "hidden" not in logs


def test_limits_that_collide_with_the_configuration_are_told_and_hold_back_nobody(servers, tmp_path):
    path = tmp_path / "limits.yaml"
    path.write_text(
        "overrides: {shop: {metrics_generator: {processor: {span_metrics: {dimensions: [a.b]}}}}, b: {global: {max_bytes_per_trace: 77}}}\n")
    mapping = {"name": "a-b", "source_labels": ["x"]}
    server = servers.start(config={
        "overrides": {"per_tenant_override_config": str(path)},
        "metrics_generator": {"processor": {"span_metrics": {"dimension_mappings": [mapping]}}}})
    assert "max_bytes_per_trace: 77\n" in limits_of(server, "b")
    logs = server.logs()
    assert "overrides of tenant shop: metrics_generator: dimension_mapping" in logs and "collides with dimension" in logs


def test_status_pages(servers, tmp_path):
    server = Limited(servers, tmp_path, "overrides: {a: {global: {max_bytes_per_trace: 77}}}\n").server
    page = server.get("/status/overrides").json()
    assert page["tenants"] == [
        {"name": "a", "has_runtime_overrides": True, "has_user_configurable_overrides": False}]
    page = server.get("/status/overrides/a").json()
    assert page["using_default_or_wildcard_runtime_overrides"] == "a"
    assert page["user_configurable_overrides"] == "User-configurable overrides are not enabled"
    assert server.get("/status/overrides/b").json()["using_default_or_wildcard_runtime_overrides"] == "default overrides"
    assert "<table>" in server.get("/status/overrides", accept="text/html").text
    whole = server.get("/status/runtime_config").text
    difference = server.get("/status/runtime_config", mode="diff").text
    assert whole.startswith("---\ndefaults:\n") and "max_bytes_per_trace: 77" in whole
    assert "defaults" not in difference and "max_bytes_per_trace: 77" in difference
    assert server.get("/api/overrides", headers={"X-Scope-OrgID": "a"}).status_code == 404


class Api:
    """`/api/overrides` of one server."""

    def __init__(self, server, tenant="a"):
        self.url, self.tenant = server.url + "/api/overrides", tenant

    def ask(self, method, body=None, version=None, **params):
        headers = {"X-Scope-OrgID": self.tenant, **({} if version is None else {"If-Match": version})}
        body = body if body is None or isinstance(body, str) else json.dumps(body)
        return requests.request(method, self.url, data=body, headers=headers, params=params, timeout=30)


def test_tenant_sets_its_limits_by_the_api(servers, tmp_path):
    limited = Limited(
        servers, tmp_path, "overrides: {a: {metrics_generator: {processors: [span-metrics]}}}\n",
        overrides=stored_api(tmp_path / "stored"))
    server, api = limited.server, Api(limited.server)
    assert requests.get(api.url, timeout=30).status_code == 401
    missing = api.ask("GET")
    assert (missing.status_code, missing.text) == (404, "")
    body = {"metrics_generator": {"processors": ["service-graphs"], "collection_interval": "30s"}}
    assert api.ask("POST", body).status_code == 428
    created = api.ask("POST", body, "0")
    assert created.status_code == 200 and created.headers["ETag"], created.text
    again = api.ask("POST", body, "0")
    assert again.status_code == 412 and "version does not match" in again.text
    shown = api.ask("GET")
    assert shown.headers["ETag"] == created.headers["ETag"] and shown.headers["Content-Type"] == "application/json"
    assert shown.json() == {
        "cost_attribution": {},
        "metrics_generator": {
            **body["metrics_generator"], "processor": {"service_graphs": {}, "span_metrics": {}, "host_info": {}}}}
    merged = api.ask("GET", scope="merged").json()
    assert merged["metrics_generator"]["processors"] == ["span-metrics", "service-graphs"]
    bad = {"metrics_generator": {"processor": {"service_graphs": {"histogram_buckets": [0.1, "invalid"]}}}}
    wrong = api.ask("POST", bad, created.headers["ETag"])
    assert wrong.status_code == 400
    assert wrong.text.startswith('metrics_generator.processor.service_graphs.histogram_buckets[1]: invalid type: string "invalid"')
    wrong = api.ask("PATCH", {"metrics_generator": {"collection_interval": "15"}})
    assert wrong.status_code == 400 and wrong.text.startswith("metrics_generator.collection_interval: "), wrong.text
    policies = {"filter_policies": [{"include": {"match_type": "sometimes", "attributes": []}}]}
    for processor, text in [({"span_metrics": policies}, "invalid include policy: invalid match type: sometimes"),
                            ({"host_info": {"host_identifiers": []}}, "at least one value must be provided in host_identifiers")]:
        unusable = api.ask("POST", {"metrics_generator": {"processor": processor}}, created.headers["ETag"])
        assert unusable.status_code == 400 and text in unusable.text
    refused = api.ask("PATCH", {"metrics_generator": {"collection_interval": "1s"}})
    assert refused.status_code == 400 and "outside acceptable range of 15s to 5m" in refused.text
    patched = api.ask("PATCH", {"metrics_generator": {"disable_collection": True, "processors": None}})
    assert patched.json()["metrics_generator"]["disable_collection"] is True
    assert "processors" not in patched.json()["metrics_generator"]
    stored = json.loads((tmp_path / "stored/overrides/a/overrides.json").read_text())
    assert stored == patched.json()
    page = server.get("/status/overrides/a").json()
    assert json.loads(page["user_configurable_overrides"]) == stored
    assert "user_configurable_overrides" in server.get("/status/runtime_config").text
    assert api.ask("DELETE", version="0").status_code in (404, 412)
    assert api.ask("DELETE", version=patched.headers["ETag"]).status_code == 200
    assert api.ask("GET").status_code == 404
    assert Api(server, "b").ask("GET").status_code == 404


def test_other_processes_pick_changes_up(servers, tmp_path):
    stored = tmp_path / "stored"
    first, second = (
        Limited(servers, tmp_path, "", name, overrides=stored_api(stored)).server for name in ("first", "second"))
    answer = Api(first).ask("POST", {"cost_attribution": {"dimensions": {"team": "team"}}}, "0")
    assert answer.status_code == 200, answer.text

    def dimensions():
        page = second.get("/status/overrides/a").json()["user_configurable_overrides"]
        return page.startswith("{") and json.loads(page)["cost_attribution"].get("dimensions")

    assert eventually(dimensions, "the change reaches the other process") == {"team": "team"}
    # A document that nobody can read leaves the limits as they are.
    (stored / "overrides/a/overrides.json").write_text("{")
    failed = "tempo_overrides_user_configurable_overrides_reload_failed_total"
    eventually(lambda: second.metric(failed) > 0, "the damage is counted")
    assert dimensions() == {"team": "team"}


@pytest.mark.parametrize("store", ["s3", "gcs", "azure"])
def test_limits_are_stored_in_every_store_with_its_versions(servers, tmp_path, request, store):
    trace = request.getfixturevalue(f"{store}_server").new_bucket().config()["storage"]["trace"]
    client = {"backend": store, store: trace[store]}
    overrides = {"user_configurable_overrides": {"enabled": True, "poll_interval": "200ms", "client": client}}
    server = Limited(servers, tmp_path, "", overrides=overrides).server
    api = Api(server)
    created = api.ask("POST", {"metrics_generator": {"disable_collection": True}}, "0")
    assert created.status_code == 200, created.text
    assert api.ask("POST", {}, "0").status_code == 412
    assert api.ask("POST", {}, "other").status_code == 412
    replaced = api.ask("POST", {}, created.headers["ETag"])
    assert replaced.status_code == 200 and replaced.headers["ETag"] != created.headers["ETag"]
    assert api.ask("DELETE", version=created.headers["ETag"]).status_code == 412
    assert api.ask("DELETE", version=replaced.headers["ETag"]).status_code == 200
    assert api.ask("GET").status_code == 404


def test_dedicated_columns_of_a_tenant_are_in_its_blocks(servers, tmp_path):
    limited = Limited(servers, tmp_path, """
overrides:
  own: {storage: {parquet_dedicated_columns: [{scope: span, name: order.id, type: string}]}}
""")
    for tenant in ("own", "other"):
        assert limited.push(tenant, otlp.span(attributes={"order.id": "7"})).status_code == 200
    limited.server.flush()

    def columns(tenant):
        meta, = (limited.server.blocks / tenant).glob("*/meta.json")
        return [column["n"] for column in json.loads(meta.read_text()).get("dedicatedColumns") or []]

    assert columns("own") == ["order.id"]
    assert "order.id" not in columns("other")


def test_merged_blocks_have_the_columns_of_their_tenant(servers, tmp_path):
    limited = Limited(
        servers, tmp_path,
        "overrides: {own: {storage: {parquet_dedicated_columns: [{scope: span, name: order.id, type: string}]}}}\n",
        compactor={"compaction": {"compaction_cycle": "200ms", "adopt_block_settings": True}},
        storage={"trace": {"blocklist_poll": "300ms"}})
    for _ in range(2):
        assert limited.push("own", otlp.span(attributes={"order.id": "7"})).status_code == 200
        limited.server.flush()

    def merged():
        metas = [json.loads(path.read_text()) for path in (limited.server.blocks / "own").glob("*/meta.json")]
        return [meta for meta in metas if meta.get("compactionLevel")]

    meta, = eventually(merged, "the blocks are merged")
    assert [column["n"] for column in meta["dedicatedColumns"]] == ["order.id"]


def test_tag_queries_may_have_as_many_alternatives_as_the_tenant_may(servers, tmp_path):
    read = "read: {max_condition_groups_per_tag_query: %d}"
    limited = Limited(
        servers, tmp_path, f"overrides: {{many: {{{read % 300}}}}}\n",
        overrides={"defaults": {"read": {"max_condition_groups_per_tag_query": 3}}})
    server = limited.server
    query = "{%s}" % "||".join(f"span.b={number}" for number in range(200))

    def asked(tenant, query):
        return server.get("/api/v2/search/tag/span.a/values", q=query, headers={"X-Scope-OrgID": tenant})

    assert asked("few", query).status_code == 400
    for where in ("recent", "in a block"):
        if where == "recent":
            assert limited.push("many", otlp.span(attributes={"a": 7, "b": 100})).status_code == 200
        else:
            server.flush()
        answer = asked("many", query)
        assert answer.status_code == 200, (where, answer.text)
        assert [value["value"] for value in answer.json()["tagValues"]] == ["7"], where


def test_query_limits_are_those_of_the_tenant(servers, tmp_path):
    limited = Limited(servers, tmp_path, "overrides: {a: {read: {max_search_duration: 1h}}}\n")
    now = int(time.time())

    def search(tenant):
        return limited.server.get(
            "/api/search", q="{}", start=now - 7200, end=now, headers={"X-Scope-OrgID": tenant})

    refused = search("a")
    assert refused.status_code == 400 and "exceeds 1h" in refused.text
    assert search("b").status_code == 200
