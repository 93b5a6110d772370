"""`tactusctl migrate`: files and chart values made for Grafana Tempo, what is said of each key, and what Tactus makes of the result.

Configurations and values lie in migrate/. UPDATE_EXPECTED=1 writes the expected values anew: look at the difference."""
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from harness import otlp
from harness.documents import FENCE, file_name
from harness.helm import Manifests, template
from harness.paths import CONFORMANCE, INTEGRATION_TESTS, REPOSITORY, tactus_binary
from harness.tools import need
from harness.waiting import eventually
from test_tactusctl import SHOP, TENANT, as_json, binary, copy_of

FILES = INTEGRATION_TESTS / "migrate"
CONFIGURATIONS = sorted((FILES / "configurations").glob("*.yaml"))
VALUES = sorted((FILES / "values").glob("*.yaml"))
VERDICTS = {"honoured", "renamed", "ignored", "changed", "unknown", "refused"}
# Nothing to do; something to look at; Tactus does not start with it.
FINE, LOOK, REFUSED = 0, 3, 4
VARIABLES = {"BUCKET": "traces", "ACCESS_KEY": "a", "SECRET_KEY": "7", "LOG_LEVEL": "debug"}


def stem(path):
    return getattr(path, "stem", str(path))


def migrate(kind, path, *arguments):
    """(exit code, report) of a file."""
    done = subprocess.run(
        [binary(), "migrate", kind, path, "--output", "json", *map(str, arguments)], capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL)
    assert done.returncode in (FINE, LOOK, REFUSED), done.stderr
    report = json.loads(done.stdout)
    assert {key["verdict"] for key in report["keys"]} <= VERDICTS
    return done.returncode, report


def keys(report, verdict):
    return {key["key"]: key for key in report["keys"] if key["verdict"] == verdict}


def verified(path, *arguments, **env):
    """What the server says of a file; it must take it, and say nothing."""
    done = subprocess.run(
        [tactus_binary(), f"-config.file={path}", "-config.verify", *arguments], capture_output=True, text=True, timeout=60,
        cwd=path.parent, env={**os.environ, **env})
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{said}\n{path.read_text()}"
    assert "warn" not in said.lower(), f"{said}\n{path.read_text()}"


def leaves(value, path=""):
    """Keys with their values, lists of maps looked into: a second reading of what every report must have."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict) and item for item in value):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{index}")
    else:
        yield path


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=stem)
def test_configuration_is_written_so_that_the_server_takes_it_without_a_word(path, tmp_path):
    text = path.read_text()
    expand = "${" in text
    arguments = [f"--env={name}={value}" for name, value in VARIABLES.items()] if expand else []
    # A file of a cluster is for processes with a target of their own.
    target = "distributor" if "replication_factor" in text else "all"
    code, report = migrate("config", path, f"--target={target}", "--write", tmp_path / "tactus.yaml", *arguments)
    written = (tmp_path / "tactus.yaml").read_text()
    if path.stem == "old-and-suspect":
        # What somebody has switched on stays on, and is warned of.
        logging, mcp = report.pop("left")
        assert logging.startswith("Span logging is enabled") and mcp.startswith("query_frontend.mcp_server.enabled")
        decided = yaml.safe_load(written)
        assert decided["distributor"].pop("log_received_spans") and decided["query_frontend"].pop("mcp_server")
        written = yaml.safe_dump(decided)
    # What does not start is left out of what is written.
    refused = keys(report, "refused").keys()
    assert refused <= {"storage.trace.block.version"} and (code == REFUSED) == bool(refused)
    assert report.get("left", []) == []
    (tmp_path / "overrides.yaml").write_text("overrides: {}\n")
    (tmp_path / "tactus.yaml").write_text(re.sub(r"/\S+/overrides.yaml", f"{tmp_path}/overrides.yaml", written))
    verified(tmp_path / "tactus.yaml", f"-target={target}", *(["-config.expand-env"] if expand else []), **VARIABLES)
    if not expand:
        reported = [key["key"] for key in report["keys"] if "line" in key]
        assert sorted(reported) == sorted(leaves(yaml.safe_load(text)))
        lines = text.splitlines()
        for key in report["keys"]:
            last = key["key"].rsplit(".", 1)[-1]
            assert "line" not in key or last.isdigit() or last in lines[key["line"] - 1], key
    # What was written needs no second look but at what a person decides.
    again, second = migrate("config", tmp_path / "tactus.yaml", f"--target={target}", *arguments)
    assert again in (FINE, LOOK)
    assert not keys(second, "ignored") and not keys(second, "renamed") and second["left"] == []


def test_names_reasons_and_lines_of_an_older_file():
    _, report = migrate("config", FILES / "configurations" / "jsonnet.yaml")
    renamed = {key: found["now"] for key, found in keys(report, "renamed").items()}
    assert renamed.items() >= {
        "querier.query_timeout": "querier.trace_by_id.query_timeout",
        "query_frontend.query_shards": "query_frontend.trace_by_id.query_shards",
        "overrides.max_traces_per_user": "overrides.defaults.ingestion.max_traces_per_user",
        "storage.trace.block.row_group_size_bytes": "storage.trace.block.parquet_row_group_size_bytes",
        "storage.trace.memcached.host": "cache.caches.0.memcached.host",
        "storage.trace.background_cache.writeback_goroutines": "cache.background.writeback_goroutines"}.items()
    ignored = keys(report, "ignored")
    assert ignored["search_enabled"]["line"] == 22 and "dropped" in ignored["search_enabled"]["why"]
    assert "v2" in ignored["compactor.compaction.v2_in_buffer_bytes"]["why"]
    assert "vParquet4" in keys(report, "refused")["storage.trace.block.version"]["why"]


def test_variables_and_secrets_stay_out_of_what_is_shown_and_written(tmp_path):
    path, written = FILES / "configurations" / "variables.yaml", tmp_path / "tactus.yaml"
    done = subprocess.run(
        [binary(), "migrate", "config", path, "--config.expand-env", "--write", written], capture_output=True, text=True, timeout=60,
        env={**os.environ, **VARIABLES, "SECRET_KEY": "hush"})
    assert done.returncode in (FINE, LOOK), done.stderr
    assert "hush" not in done.stdout + written.read_text()
    assert 'secret_key: "${SECRET_KEY}"' in written.read_text()
    assert "http_listen_port: ${HTTP_PORT:-3200}" in written.read_text()


def test_mistakes_have_exit_code_four_and_are_named(tmp_path):
    path = tmp_path / "tempo.yaml"
    path.write_text("server:\n  http_port: 3200\ntarget: block-builder\ningester: {max_block_bytes: 10MB}\n")
    code, report = migrate("config", path, "--write", tmp_path / "out.yaml")
    assert code == REFUSED
    assert keys(report, "unknown").keys() == {"server.http_port"}
    assert keys(report, "refused").keys() >= {"target", "ingester.max_block_bytes"}
    assert "block-builder" in report["left"][0]
    text = subprocess.run([binary(), "migrate", "config", path], capture_output=True, text=True, timeout=60).stdout
    assert re.search(r"^ +2 +server.http_port +unknown +field http_port not found", text, re.MULTILINE), text
    path.write_text("a: [\n")
    done = subprocess.run([binary(), "migrate", "config", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "line" in done.stderr


@pytest.mark.parametrize("layout", ["flat", "scoped"])
def test_limits_by_tenant_are_written_so_that_the_server_takes_them(layout, servers, tmp_path):
    written = tmp_path / "overrides.yaml"
    code, report = migrate("overrides", FILES / f"overrides-{layout}.yaml", "--write", written)
    assert code == LOOK and report["left"] == []
    assert bool(keys(report, "renamed")) == (layout == "flat")
    server = servers.start(config={"overrides": {"per_tenant_override_config": str(written)}})
    shown = yaml.safe_load(server.get("/status/overrides/team-a").text)
    assert "team-a" in json.dumps(shown) or shown
    # What has no effect is told by the report, and once more by the server.
    warned = re.findall(r"level=warn.*overrides.*", server.logs())
    assert all("local-blocks does nothing" in line for line in warned), warned


DOCUMENTED = [
    (page, number, text)
    for page in sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
    for number, (language, text) in enumerate(FENCE.findall(page.read_text())) if language == "yaml" and not file_name(text)]


def test_every_documented_configuration_passes_through(tmp_path):
    assert len(DOCUMENTED) > 15
    for page, number, text in DOCUMENTED:
        path = tmp_path / f"{page.stem}-{number}.yaml"
        path.write_text(text)
        code, report = migrate("config", path, "--write", tmp_path / "out.yaml", "--config.expand-env")
        place = f"{page.name}, block {number}: {report}"
        assert code != REFUSED and not keys(report, "unknown"), place
        assert not report["left"] or "backend" in text, place


@pytest.mark.parametrize("page", ["migrating-from-jaeger.md", "migrating-from-zipkin.md"])
def test_collector_that_sends_to_both_takes_its_documented_configuration(page, tmp_path):
    collector = need("collector", INTEGRATION_TESTS / ".cache" / "bin" / "collector")
    (text,) = [
        text for language, text in FENCE.findall((REPOSITORY / "docs" / page).read_text())
        if language == "yaml" and file_name(text) == "collector.yaml"]
    # The collector of the tests has no Zipkin exporter, which has the key `endpoint` as this one.
    text = text.replace("  zipkin: {endpoint: \"http", "  otlphttp: {endpoint: \"http").replace("[zipkin, otlp]", "[otlphttp, otlp]")
    (tmp_path / "collector.yaml").write_text(text)
    done = subprocess.run(
        [collector, "validate", f"--config={tmp_path}/collector.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- values of charts ------------------------------------------------------------------------------------------------


def without_bucket(path):
    return path.stem == "distributed-mistakes"


def refused(path):
    """Tactus does not start with what these hold, but those with a bucket become values with which it does."""
    return without_bucket(path) or "vParquet" in path.read_text()


@pytest.mark.parametrize("path", VALUES, ids=stem)
def test_values_become_those_that_are_expected(path, tmp_path):
    done = subprocess.run([binary(), "migrate", "helm-values", path], capture_output=True, text=True, timeout=60)
    assert done.returncode in (FINE, LOOK, REFUSED), done.stderr
    assert (done.returncode == REFUSED) == refused(path)
    expected = FILES / "expected" / path.name
    if os.environ.get("UPDATE_EXPECTED"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(done.stdout)
    assert done.stdout == expected.read_text()
    code, report = migrate("helm-values", path, "--write", tmp_path / "values.yaml")
    assert code == done.returncode and (tmp_path / "values.yaml").read_text() == done.stdout
    # Nothing disappears: each value is reported by itself or with what it belongs to.
    reported = {key["key"] for key in report["keys"]}
    for leaf in leaves(yaml.safe_load(path.read_text())):
        parts = leaf.split(".")
        above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        below = any(key.startswith(leaf + ".") for key in reported)
        moved = leaf.startswith(("tempo.", "overrides", "global_overrides"))
        assert above & reported or below or moved, leaf


@pytest.mark.parametrize("path", [path for path in VALUES if not without_bucket(path)], ids=stem)
def test_result_is_rendered_and_taken_by_every_process(path, tmp_path):
    done = template("--values", FILES / "expected" / path.name)
    assert done.returncode == 0, done.stderr
    manifests = Manifests(done.stdout)
    (tmp_path / "overrides.yaml").write_text(manifests.file("overrides.yaml"))
    config = manifests.file("tempo.yaml").replace("/runtime-config/", f"{tmp_path}/").replace("/var/tempo", f"{tmp_path}/data")
    config = config.replace("/etc/ca/ca.pem", "")
    (tmp_path / "tempo.yaml").write_text(config)
    started = 0
    for _, _, container in manifests.processes():
        arguments = [argument for argument in container["args"] if not argument.startswith("-config.file")]
        verified(tmp_path / "tempo.yaml", *arguments, S3_KEY="a", S3_ACCESS_KEY="a", S3_SECRET_KEY="b")
        started += 1
    assert started


def test_values_that_do_not_fit_are_named_with_their_paths():
    path = FILES / "values" / "distributed-mistakes.yaml"
    _, report = migrate("helm-values", path)
    assert keys(report, "unknown").keys() == {"replicaCount", "ingester.replica", "ingester.config.trace_idle_periods"}
    assert keys(report, "refused").keys() == {"gateway.enabled", "ingester.config.max_block_bytes", "storage.trace.backend", "traces"}
    assert keys(report, "changed").keys() >= {"config", "queryFrontend.config.search.max_duration"}
    assert "Kafka" in keys(report, "ignored")["traces.kafka"]["why"]


RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: tempo}
spec:
  chart: {spec: {chart: tempo, version: 1.21.1}}
  values: {tempo: {retention: 168h}}
"""
APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: tempo}
spec:
  source:
    chart: tempo
    helm:
      values: |
        tempo: {retention: 168h}
"""
# Grafana's lgtm-distributed calls tempo-distributed `tempo`.
UMBRELLA = """\
grafana: {enabled: true}
tempo:
  enabled: true
  ingester: {replicas: 3, persistence: {enabled: true}}
  traces: {otlp: {grpc: {enabled: true}}}
  storage: {trace: {backend: s3, s3: {bucket: traces, endpoint: s3.eu-west-1.amazonaws.com}}}
  compactor: {config: {compaction: {block_retention: 168h}}}
"""


@pytest.mark.parametrize("text, mode, arguments", [
    (RELEASE, "single", []), (APPLICATION, "single", []), (UMBRELLA, "distributed", []),
    (UMBRELLA, "distributed", ["--chart", "tempo-distributed"])],
    ids=["HelmRelease", "Application", "umbrella", "umbrella-and-chart"])
def test_values_are_found_within_other_files(text, mode, arguments, tmp_path):
    (tmp_path / "file.yaml").write_text(text)
    code, report = migrate("helm-values", tmp_path / "file.yaml", "--write", tmp_path / "values.yaml", *arguments)
    values = yaml.safe_load((tmp_path / "values.yaml").read_text())
    assert code == LOOK and values["mode"] == mode
    assert values["compactor"]["config"]["compaction"]["block_retention"] == "168h"
    assert any("keys are named from here on" in key["why"] for key in keys(report, "changed").values())


def test_object_without_values_is_refused_and_writes_none(tmp_path):
    (tmp_path / "file.yaml").write_text("apiVersion: v1\nkind: ConfigMap\ndata: {values.yaml: 'tempo: {}'}\n")
    done = subprocess.run([binary(), "migrate", "helm-values", tmp_path / "file.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert "ConfigMap" in done.stderr and "spec.values of a HelmRelease" in done.stderr


def test_copied_defaults_and_templates_of_the_other_chart_mean_what_they_meant(tmp_path):
    (tmp_path / "file.yaml").write_text("""
distributor: {config: {max_attribute_bytes: 0, log_received_traces: true, log_received_spans: {enabled: false}}}
memberlist: {cluster_label: "{{ .Release.Name }}.{{ .Release.Namespace }}"}
traces: {otlp: {grpc: {enabled: true}}}
storage: {trace: {backend: s3, s3: {bucket: "{{ .Release.Namespace }}-traces", endpoint: s3.eu-west-1.amazonaws.com}}}
""")
    code, report = migrate("helm-values", tmp_path / "file.yaml", "--write", tmp_path / "values.yaml")
    assert code == LOOK
    assert "template" in keys(report, "changed")["storage.trace.s3.bucket"]["why"]
    assert keys(report, "ignored").keys() >= {"memberlist.cluster_label", "distributor.config.max_attribute_bytes"}
    done = template("--values", tmp_path / "values.yaml")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(Manifests(done.stdout).file("tempo.yaml"))
    assert "max_attribute_bytes" not in config["distributor"] and config["distributor"]["log_received_spans"]["enabled"]
    assert "{{" not in config["memberlist"]["cluster_label"]


def test_users_and_ports_of_the_gateway_are_kept(tmp_path):
    def gateway(users):
        values = {
            "traces": {"otlp": {"grpc": {"enabled": True}}}, "storage": {"trace": {"backend": "gcs", "gcs": {"bucket_name": "traces"}}},
            "gateway": {
                "enabled": True, "service": {"type": "NodePort", "nodePort": 30080, "clusterIP": "10.0.0.9"},
                "basicAuth": {"enabled": True, "username": "alice", "password": "secret", "htpasswd": users}}}
        (tmp_path / "file.yaml").write_text(yaml.safe_dump(values))
        _, report = migrate("helm-values", tmp_path / "file.yaml", "--write", tmp_path / "values.yaml")
        assert not keys(report, "unknown")
        done = template("--values", tmp_path / "values.yaml")
        assert done.returncode == 0, done.stderr
        manifests = Manifests(done.stdout)
        ports = manifests.of("Service")["t-tactus-gateway"]["spec"]["ports"]
        assert [port.get("nodePort") for port in ports] == [30080, None]
        assert manifests.of("Service")["t-tactus-gateway"]["spec"]["clusterIP"] == "10.0.0.9"
        return keys(report, "ignored"), manifests.file(".htpasswd")

    lines = "bob:$apr1$k0Ou4bYr$3wBMHaQ5lZvl6jU8vB2eT1\ncarol:{PLAIN}x\n"
    assert gateway(lines) == ({}, lines)
    # The default of the other chart.
    ignored, users = gateway("{{ htpasswd (required \"user\" .Values.gateway.basicAuth.username) .Values.gateway.basicAuth.password }}")
    assert ignored.keys() == {"gateway.basicAuth.htpasswd"} and users.startswith("alice:{SSHA}")


# --- side by side on one bucket, and back ----------------------------------------------------------------------------


def digests(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*") if path.is_file()}


def dedicated(meta):
    """Dedicated columns of a block, as a configuration has them."""
    return [
        {"scope": column.get("s", "span"), "name": column["n"], "type": column.get("t", "string"), "options": column.get("o", [])}
        for column in meta["dedicatedColumns"]]


def columns(schema):
    """The lines of a Parquet schema."""
    return sorted(re.sub(r"\s+", " ", line).strip() for line in schema.splitlines())


@pytest.mark.parametrize("version", ["vParquet4", "vParquet5"])
def test_one_bucket_serves_both_and_going_back_leaves_what_tempo_reads(version, servers, tmp_path):
    configuration = tmp_path / "tempo.yaml"
    configuration.write_text("compactor: {compaction: {v2_in_buffer_bytes: 5242880}}\nstorage: {trace: {block: {version: %s}}}\n" % version)
    migrate("config", configuration, "--write", tmp_path / "tactus.yaml")
    extra = yaml.safe_load((tmp_path / "tactus.yaml").read_text())
    (sample,) = (CONFORMANCE / "blocks" / version).glob("*/*/meta.json")
    extra["storage"]["trace"]["block"]["parquet_dedicated_columns"] = dedicated(json.loads(sample.read_text()))
    extra = {**extra, "compactor": {"disabled": True}, "ingester": {"flush_all_on_shutdown": True}}
    server = servers.new(config=extra)
    copy_of(version, server.blocks)
    before = digests(server.blocks)
    # Side by side: Tempo's block is found beside what comes in now.
    server.start()
    window = {"start": 1_700_000_000 - 60, "end": 1_700_000_000 + 3600}
    eventually(lambda: len(server.search("{}", **window)) == 64, "Tempo's block is known")
    assert len(server.trace(SHOP)) == 4
    trace_id = otlp.push_trace(server, 3)
    # Back: the end of Tactus brings everything to the bucket.
    server.stop()
    after = digests(server.blocks)
    assert {name: after.get(name) for name in before} == before, "Tempo's objects are as they were"
    (tempos,) = {name.split("/")[1] for name in before if name.endswith("meta.json")}
    (own,) = {name.split("/")[1] for name in after if name.endswith("meta.json")} - {tempos}
    # On the first level, where Tempo looks for tenants, there are directories of tenants alone.
    assert {path.name for path in server.blocks.iterdir() if path.is_dir()} == {TENANT}
    ours, theirs = (server.blocks / TENANT / block for block in (own, tempos))
    assert {path.name for path in ours.iterdir()} >= {"meta.json", "data.parquet", "bloom-0"}
    ours_meta, theirs_meta = (json.loads((block / "meta.json").read_text()) for block in (ours, theirs))
    assert ours_meta["format"] == theirs_meta["format"] == version
    # Every field of Tempo's meta that is not left out when it is zero.
    optional = {"dedicatedColumns", "replicationFactor", "compactionLevel", "indexPageSize", "totalRecords", "dataEncoding", "encoding"}
    assert theirs_meta.keys() - optional <= ours_meta.keys(), (theirs_meta, ours_meta)
    assert ours_meta["dedicatedColumns"] == theirs_meta["dedicatedColumns"]
    shown = [as_json("--path", server.blocks, "block", TENANT, block, "--schema")["schema"] for block in (own, tempos)]
    assert columns(shown[0]) == columns(shown[1])
    # The switch: Tactus compacts, which is who writes the tenant index, and needs nothing of the first one's disk.
    again = servers.new("again", config={**extra, "compactor": {"compaction": {"block_retention": "876000h"}}})
    shutil.copytree(server.blocks, again.blocks, dirs_exist_ok=True)
    again.start()
    eventually(lambda: len(again.trace(trace_id) or []) == 3, "what Tactus wrote is found without its own disk")
    assert len(again.trace(SHOP)) == 4


def test_samples_are_there():
    assert len(CONFIGURATIONS) >= 6 and len(VALUES) >= 12
    assert {path.name for path in (FILES / "expected").iterdir()} == {path.name for path in VALUES}
    assert (CONFORMANCE / "blocks" / "vParquet4").is_dir()
