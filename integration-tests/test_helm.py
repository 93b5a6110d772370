"""The Helm chart: what it renders is valid, belongs together, and is a configuration that Tactus takes."""
import base64
import collections
import hashlib
import os
import re
import shutil
import subprocess
import sys

import jsonschema
import kubernetes_validate
import pytest
import yaml

from harness.certificates import Certificates
from harness.documents import FENCE, file_name
from harness.helm import CHART, FULLNAME, VALUES, Manifests, helm, notes, rendered, template, validate_custom, values_file
from harness.paths import REPOSITORY, tactus_binary
from harness.server import merge

# The oldest that the chart names, one between, and the newest that the package has.
VERSIONS = ("1.25", "1.31", kubernetes_validate.latest_version())
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute", "GRPCRoute"}
S3 = {"storage": {"trace": {"backend": "s3", "s3": {"bucket": "b", "endpoint": "localhost:1", "access_key": "a", "secret_key": "b"}}}}


def name(path):
    return path.name.removesuffix("-values.yaml")


every_values_file = pytest.mark.parametrize("values", VALUES, ids=name)


def render(tmp_path, values, **kwargs):
    done = template("--values", values_file(tmp_path, values), **kwargs)
    assert done.returncode == 0, done.stderr
    return Manifests(done.stdout)


# --- valid by itself -------------------------------------------------------------------------------------------------


@every_values_file
def test_lint_finds_nothing(values):
    done = helm("lint", "--strict", "--values", values, CHART)
    assert done.returncode == 0 and "[WARNING]" not in done.stdout, done.stdout + done.stderr


@every_values_file
def test_manifests_fit_the_schemas_of_kubernetes(values):
    manifests = rendered(values)
    names = collections.Counter((item["kind"], item["metadata"]["name"]) for item in manifests.objects)
    assert not [key for key, count in names.items() if count > 1]
    for item in manifests.objects:
        if item["kind"] not in CUSTOM:
            for version in VERSIONS:
                kubernetes_validate.validate(item, version, strict=True)


@every_values_file
def test_objects_of_operators_fit_their_definitions(values):
    for item in rendered(values).objects:
        if item["kind"] in CUSTOM:
            validate_custom(item)


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_definitions_of_operators_refuse_what_is_wrong(kind):
    item = next(item for values in VALUES for item in rendered(values).objects if item["kind"] == kind)
    item = yaml.safe_load(yaml.safe_dump(item))
    item["spec"]["nonsense"] = 3
    with pytest.raises(jsonschema.ValidationError, match="nonsense"):
        validate_custom(item)


def test_schemas_of_kubernetes_refuse_what_is_wrong():
    item = yaml.safe_load(yaml.safe_dump(rendered(VALUES[0]).of("StatefulSet")[FULLNAME]))
    item["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(item, VERSIONS[0], strict=True)


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_values_files_render_every_kind_of_object(kind):
    assert any(kind in {item["kind"] for item in rendered(values).objects} for values in VALUES)


def test_older_kubernetes_is_refused():
    done = template(version="1.24.0")
    assert done.returncode != 0 and "kubeVersion" in done.stderr


def test_readme_and_schema_are_made_of_the_values():
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "helm_docs.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# --- belongs together ------------------------------------------------------------------------------------------------


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def port_names(spec):
    return {port["name"] for container in spec["containers"] for port in container.get("ports", [])}


@every_values_file
def test_selectors_find_pods_and_ports_are_there(values):
    manifests = rendered(values)
    pods = list(manifests.pods())

    def selected(selector):
        return [spec for _, labels, spec in pods if matches(selector, labels)]

    for service_name, service in manifests.of("Service").items():
        chosen = selected(service["spec"]["selector"])
        assert chosen, service_name
        for port in service["spec"]["ports"]:
            assert all(port["targetPort"] in port_names(spec) for spec in chosen), (service_name, port)
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for object_name, item in manifests.of(kind).items():
            selector = item["spec"].get("podSelector") or item["spec"]["selector"]
            chosen = selected(selector["matchLabels"])
            assert chosen, object_name
            for rule in item["spec"].get("ingress", []):
                for port in rule["ports"]:
                    assert any(port["port"] in port_names(spec) for spec in chosen), (object_name, port)
    for item in manifests.workloads():
        if item["kind"] != "Job":
            assert matches(item["spec"]["selector"]["matchLabels"], item["spec"]["template"]["metadata"]["labels"])
        if item["kind"] == "StatefulSet":
            assert item["spec"]["serviceName"] in manifests.of("Service")
    for _, _, spec in pods:
        # What Kubernetes takes for a name of a port; the schemas do not say it.
        assert all(re.fullmatch(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", name) and len(name) <= 15 for name in port_names(spec))
    # No pod belongs to two of them: each would replace what the other made.
    for _, labels, _ in pods:
        owners = [w for w in manifests.workloads() if w["kind"] != "Job" and matches(w["spec"]["selector"]["matchLabels"], labels)]
        assert len(owners) <= 1


@every_values_file
def test_references_lead_to_objects(values):
    manifests = rendered(values)
    configured = {**manifests.of("ConfigMap"), **manifests.of("Secret")}
    # Secrets that the values file says exist.
    given = {"users", "minio-root", "bucket-keys", "tls", "t-configuration"}
    for _, _, spec in manifests.pods():
        for volume in spec.get("volumes", []):
            source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
            assert source is None or source in configured or source in given, source
        claimed = {"data"} if "data" not in {v["name"] for v in spec.get("volumes", [])} else set()
        known = {volume["name"] for volume in spec.get("volumes", [])} | claimed
        for container in spec["containers"] + spec.get("initContainers", []):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= known
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for check in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(check, {}).get("port")
                    assert port is None or port in port_names(spec), (container["name"], probe)
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for item in manifests.of(kind).values():
            target = item["spec"]["scaleTargetRef"]
            workload = manifests.of(target["kind"])[target["name"]]
            assert "replicas" not in workload["spec"], "two would set the replicas"
    for item in manifests.of("ServiceMonitor").values():
        services = [
            s for s in manifests.of("Service").values()
            if matches(item["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])
            and s["metadata"]["labels"].get("prometheus.io/service-monitor") != "false"]
        assert len(services) == 1, "each pod is scraped once"
        for endpoint in item["spec"]["endpoints"]:
            assert endpoint["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
    scraped = {endpoint["port"] for item in manifests.of("ServiceMonitor").values() for endpoint in item["spec"]["endpoints"]}
    if scraped and any(port_names(spec) & {"http-exporter"} for _, _, spec in manifests.pods()):
        assert "http-exporter" in scraped
    for kind in ("HTTPRoute", "GRPCRoute"):
        for item in manifests.of(kind).values():
            for backend in item["spec"]["rules"][0]["backendRefs"]:
                ports = manifests.of("Service")[backend["name"]]["spec"]["ports"]
                assert backend["port"] in {port["port"] for port in ports}
    for item in manifests.of("Ingress").values():
        backend = item["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {port["name"] for port in manifests.of("Service")[backend["name"]]["spec"]["ports"]}


@every_values_file
def test_pods_may_do_nothing_that_they_need_not(values):
    for pod, _, spec in rendered(values).pods():
        assert spec["securityContext"]["runAsNonRoot"] is True, pod
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + [c for c in spec.get("initContainers", []) if c["name"] != "wait"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False, pod
            assert context["capabilities"] == {"drop": ["ALL"]}
            for variable in container.get("env", []):
                assert "value" not in variable or "PASS" not in variable["name"], "secrets come by reference"


# --- a configuration that Tactus takes -------------------------------------------------------------------------------


def placed(manifests, directory):
    """The configuration with its paths below a directory, where the files are that pods would see."""
    certificates = Certificates(directory)
    shutil.copy(certificates.certificate, directory / "tls.crt")
    shutil.copy(certificates.key, directory / "tls.key")
    (directory / "overrides.yaml").write_text(manifests.file("overrides.yaml"))
    text = manifests.file("tempo.yaml")
    for mounted in ("/runtime-config/", "/tls/"):
        text = text.replace(mounted, f"{directory}/")
    path = directory / "tempo.yaml"
    path.write_text(text.replace("/var/tempo", f"{directory}/data"))
    return path


def assert_taken(manifests, tmp_path, **secrets):
    """Tactus takes the configuration, with the arguments of each process. `secrets` are variables of its environment."""
    path = placed(manifests, tmp_path)
    processes = list(manifests.processes())
    assert processes
    # What Secrets hold, and what Azure's workload identity adds to pods.
    env = {
        **os.environ, "S3_KEY": "key", "S3_SECRET": "secret", "MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": "password",
        "AZURE_CLIENT_ID": "id", "AZURE_TENANT_ID": "id", "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"), **secrets}
    (tmp_path / "token").write_text("token")
    for workload, _, container in processes:
        arguments = [argument.replace("/conf/tempo.yaml", str(path)) for argument in container["args"]]
        done = subprocess.run(
            [tactus_binary(), *arguments, "-config.verify"], capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path)
        assert done.returncode == 0, f"{workload}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("values", [v for v in VALUES if name(v) != "external-config"], ids=name)
def test_tactus_takes_the_configuration_of_every_process(values, tmp_path):
    assert_taken(rendered(values), tmp_path)


def test_what_an_existing_values_file_sets_is_in_the_configuration():
    manifests = rendered(CHART / "ci" / "tempo-distributed-values.yaml")
    shown = manifests.configuration()
    assert shown["ingester"]["lifecycler"]["ring"]["replication_factor"] == 3
    assert "replication_factor" not in shown["ingester"]
    assert shown["ingester"]["trace_idle_period"] == "10s"
    assert shown["compactor"]["compaction"] == {
        "block_retention": "48h", "compacted_block_retention": "1h", "compaction_window": "1h", "compaction_cycle": "30s",
        "max_block_bytes": 107374182400, "v2_out_buffer_bytes": 20971520}
    assert shown["distributor"]["usage"]["cost_attribution"] == {"enabled": True}
    assert shown["distributor"]["receivers"]["otlp"]["protocols"]["grpc"] == {"endpoint": ":4317", "max_recv_msg_size_mib": 16}
    assert shown["memberlist"]["leave_timeout"] == "5s"
    assert shown["memberlist"]["join_members"] == [f"dns+{FULLNAME}-gossip-ring.tracing.svc.cluster.local:7946"]
    assert shown["cache"]["caches"][0]["memcached"]["host"] == f"{FULLNAME}-memcached"
    assert shown["multitenancy_enabled"] is True
    overrides = yaml.safe_load(manifests.file("overrides.yaml"))
    assert overrides == {"overrides": {"*": {"global": {"max_bytes_per_trace": 9000000}}}}


def test_structured_configuration_is_stronger_than_the_chart_also_with_false_and_zero(tmp_path):
    manifests = render(tmp_path, {"tactus": {"structuredConfig": {
        "stream_over_http_enabled": False, "usage_report": {"reporting_enabled": True},
        "ingester": {"flush_all_on_shutdown": True, "max_block_bytes": 0}}}})
    shown = manifests.configuration()
    assert shown["stream_over_http_enabled"] is False and shown["usage_report"] == {"reporting_enabled": True}
    assert shown["ingester"] == {"flush_all_on_shutdown": True, "max_block_bytes": 0}


def test_own_template_takes_the_place_of_the_configuration(tmp_path):
    manifests = render(tmp_path, {
        "config": "server: {http_listen_port: {{ .Values.server.httpListenPort }}}\ntarget: all\n",
        "tactus": {"structuredConfig": {"server": {"log_level": "warn"}}}})
    assert manifests.configuration() == {"server": {"http_listen_port": 3200, "log_level": "warn"}, "target": "all"}


def test_services_have_a_port_of_their_own_that_only_the_release_reaches(tmp_path):
    values = {**S3, "mode": "distributed", "networkPolicy": {"enabled": True}}
    shared = render(tmp_path, values)
    manifests = render(tmp_path, {**values, "server": {"internalGrpcPort": 9097}})
    assert "internal_grpc_listen_port" not in shared.configuration()["server"]
    assert manifests.configuration()["server"]["internal_grpc_listen_port"] == 9097
    # Values of the chart's own are no keys of the server.
    for rendered in (shared, manifests):
        assert not [key for key in rendered.configuration()["server"] if key != key.lower()]
    for _, _, container in manifests.processes():
        assert {"name": "grpc-internal", "containerPort": 9097} in container["ports"]
    policy = manifests.of("NetworkPolicy")[f"{FULLNAME}-query-frontend"]
    by_port = {port["port"]: rule.get("from") for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert by_port["grpc"] is None, "of everyone"
    assert by_port["grpc-internal"] and list(by_port["grpc-internal"][0]) == ["podSelector"]


def from_a_secret(tmp_path, secret):
    """The configuration with variables for keys of a bucket and of a cache, numbers and switches; what it is once they are replaced."""
    manifests = render(tmp_path, merge(S3, {
        "tactus": {"expandEnv": True, "structuredConfig": {
            "server": {"http_listen_port": "${PORT}"}, "ingester": {"max_block_bytes": "${BYTES:1000}"}}},
        "storage": {"trace": {"s3": {"access_key": "${S3_KEY}", "secret_key": "${S3_SECRET}", "insecure": "${INSECURE}"}}},
        "cache": {"caches": [{"roles": ["bloom"], "redis": {"endpoint": "r:1", "password": "${S3_SECRET}"}}]}}))
    variables = {"S3_KEY": secret, "S3_SECRET": secret, "PORT": "3333", "INSECURE": "true"}
    assert_taken(manifests, tmp_path, **variables)
    text = manifests.file("tempo.yaml").replace("${BYTES:1000}", "1000")
    for variable, value in variables.items():
        text = text.replace(f"${{{variable}}}", value)
    return yaml.safe_load(text)


@pytest.mark.parametrize("secret", ["pass #12345", "@x", "*x", "%x", '"x', "{a", "a: 1", "12345678", "null", r"a\b", "p$HOME{y}"])
def test_a_secret_of_any_characters_is_taken_as_it_is(secret, tmp_path):
    shown = from_a_secret(tmp_path, secret)
    s3 = shown["storage"]["trace"]["s3"]
    assert (s3["access_key"], s3["secret_key"], s3["insecure"]) == (secret, secret, True)
    assert shown["cache"]["caches"][0]["redis"]["password"] == secret
    assert (shown["server"]["http_listen_port"], shown["ingester"]["max_block_bytes"]) == (3333, 1000)


def test_quotes_of_a_secret_stand_twice(tmp_path):
    assert from_a_secret(tmp_path, "it''s")["storage"]["trace"]["s3"]["secret_key"] == "it's"


def test_secrets_of_minio_may_have_any_characters(tmp_path):
    manifests = rendered(CHART / "ci" / "single-minio-gateway-values.yaml")
    assert_taken(manifests, tmp_path, MINIO_ROOT_USER="@root", MINIO_ROOT_PASSWORD="a: b #c")


# Peers of policies.
GRAFANA, APPS, SCRAPER, INGRESS = ([{"podSelector": {"matchLabels": {"app": name}}}] for name in ("grafana", "apps", "scraper", "ingress"))


def reached(tmp_path, policy, component, **values):
    """Port of a component -> who reaches it besides the release: names, or None for everyone."""
    values = merge({**S3, "mode": "distributed", "gateway": {"enabled": True}, "networkPolicy": {"enabled": True, **policy}}, values)
    found = {}
    for rule in render(tmp_path, values).of("NetworkPolicy")[FULLNAME + component]["spec"]["ingress"]:
        names = [peer["podSelector"]["matchLabels"].get("app") for peer in rule["from"]] if "from" in rule else None
        for port in rule["ports"]:
            before = found.get(port["port"], [])
            found[port["port"]] = None if names is None or before is None else before + [name for name in names if name]
    return found


def test_only_those_who_may_query_reach_the_port_of_queries(tmp_path):
    policy = {"queryFrom": GRAFANA, "ingestFrom": APPS}
    for component in ("-query-frontend", "-querier", "-distributor"):
        found = reached(tmp_path, policy, component)
        assert found["http-metrics"] == (["grafana"] if component == "-query-frontend" else [])
        assert None not in found.values()
    assert reached(tmp_path, {**policy, "metricsFrom": SCRAPER}, "-query-frontend")["http-metrics"] == ["scraper", "grafana"]
    assert reached(tmp_path, {"ingestFrom": APPS}, "-query-frontend")["http-metrics"] is None
    apart = reached(tmp_path, policy, "-query-frontend", tactus={"structuredConfig": {"internal_server": {"enable": True}}})
    assert apart["http-metrics"] == ["grafana"] and apart["http-internal"] is None


def test_those_who_may_query_or_send_reach_the_gateway_or_those_it_names(tmp_path):
    policy = {"queryFrom": GRAFANA, "ingestFrom": APPS}
    for given, names in (
            ({}, None), (policy, ["grafana", "apps"]), ({"queryFrom": GRAFANA}, ["grafana"]), ({"ingestFrom": APPS}, ["apps"]),
            ({**policy, "gatewayFrom": INGRESS}, ["ingress"])):
        assert reached(tmp_path, given, "-gateway") == {"http-metrics": names, "grpc-otlp": names}


def test_in_one_process_queries_of_zipkin_are_at_the_port_of_its_receiver(tmp_path):
    policy = {"queryFrom": GRAFANA, "ingestFrom": APPS}
    found = reached(tmp_path, policy, "", mode="clustered", traces={"zipkin": {"enabled": True}})
    assert found["zipkin"] == ["grafana", "apps"] and "zipkin-query" not in found
    assert reached(tmp_path, policy, "", mode="clustered")["zipkin-query"] == ["grafana"]


def test_scrapes_have_the_scheme_of_their_port(tmp_path):
    def schemes(internal):
        tls = {"http_tls_config": {"cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key"}}
        manifests = render(tmp_path, {
            "tactus": {"structuredConfig": {"server": tls, "internal_server": {**(tls if internal == "https" else {}), "enable": internal is not None}}},
            "metaMonitoring": {"serviceMonitor": {"enabled": True, "usageMetrics": True, "scheme": "https"}}})
        endpoints = manifests.of("ServiceMonitor")[FULLNAME]["spec"]["endpoints"]
        return [(endpoint["port"], endpoint["path"], endpoint["scheme"]) for endpoint in endpoints]

    usage = ("http-metrics", "/usage_metrics", "https")
    assert schemes("http") == [("http-internal", "/metrics", "http"), usage]
    assert schemes("https") == [("http-internal", "/metrics", "https"), usage]
    assert schemes(None) == [("http-metrics", "/metrics", "https"), usage]


def test_notes_name_addresses_that_answer(tmp_path):
    assert "queries     http://t-tactus.tracing.svc.cluster.local:3200\n" in notes(tmp_path, {})
    tls = {"http_tls_config": {"cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key"}}
    text = notes(tmp_path, {"tactus": {"structuredConfig": {"server": tls, "http_api_prefix": "/tempo/"}}})
    assert "queries     https://t-tactus.tracing.svc.cluster.local:3200/tempo\n" in text
    gateway = {"gateway": {"enabled": True}}
    text = notes(tmp_path, gateway)
    assert "otlp-http http://t-tactus-gateway.tracing.svc.cluster.local:80/v1/traces\n" in text and "grpc-otlp 4317\n" in text
    text = notes(tmp_path, {**gateway, "traces": {"otlp": {"http": {"enabled": False}}}})
    assert "/v1/traces" not in text and "grpc-otlp 4317\n" in text
    assert "4317" not in notes(tmp_path, {"gateway": {"enabled": True, "service": {"grpcOtlpPort": None}}})


# What tempo-distributed has without any values.
OF_TEMPO = {
    "memcached": {"enabled": True},
    "cache": {"caches": [{
        "memcached": {
            "host": '{{ include "tempo.fullname" . }}-memcached', "service": "memcached-client", "consistent_hash": True, "timeout": "500ms"},
        "roles": ["parquet-footer", "bloom", "frontend-search"]}]}}


def test_memcached_keeps_what_no_cache_of_the_values_keeps(tmp_path):
    manifests = render(tmp_path, {**S3, "mode": "distributed", **OF_TEMPO})
    (cache,) = manifests.configuration()["cache"]["caches"]
    service = manifests.of("Service")[cache["memcached"]["host"]]
    assert cache["memcached"]["service"] in {port["name"] for port in service["spec"]["ports"]}
    assert_taken(manifests, tmp_path)
    some = {"caches": [{"roles": ["bloom"], "redis": {"endpoint": "redis:6379"}}, {"roles": ["parquet-footer", "parquet-page"], "memcached": {"addresses": "dns+m:11211"}}]}
    manifests = render(tmp_path, {**S3, "mode": "distributed", "memcached": {"enabled": True}, "cache": some})
    roles = [cache["roles"] for cache in manifests.configuration()["cache"]["caches"]]
    assert roles == [["bloom"], ["parquet-footer", "parquet-page"], ["frontend-search"]]
    assert_taken(manifests, tmp_path)


SHOWN = [
    text for language, text in FENCE.findall((REPOSITORY / "docs" / "operations" / "kubernetes.md").read_text())
    if language == "yaml" and file_name(text) == "values.yaml"]


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_values_of_the_documentation_are_taken(number, tmp_path):
    values = merge({**S3, "mode": "distributed"}, yaml.safe_load(SHOWN[number]))
    assert list(render(tmp_path, values).processes())


# --- modes, zones, scaling -------------------------------------------------------------------------------------------


def replicas(manifests):
    return {workload: count for workload, count, _ in manifests.processes()}


def test_each_mode_has_its_processes():
    ci = CHART / "ci"
    assert replicas(rendered(ci / "single-values.yaml")) == {FULLNAME: 1}
    assert replicas(rendered(ci / "clustered-values.yaml")) == {FULLNAME: 3}
    assert replicas(rendered(ci / "distributed-generator-values.yaml")) == {
        f"{FULLNAME}-distributor": 2, f"{FULLNAME}-ingester": 3, f"{FULLNAME}-querier": 2, f"{FULLNAME}-query-frontend": 2,
        f"{FULLNAME}-compactor": 1, f"{FULLNAME}-metrics-generator": 2}


def test_single_becomes_clustered_in_place(tmp_path):
    """What cannot be changed of a StatefulSet is the same, so that `helm upgrade` keeps its disk."""
    single, clustered = rendered(CHART / "ci" / "single-values.yaml"), rendered(CHART / "ci" / "clustered-values.yaml")
    for key in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
        assert single.of("StatefulSet")[FULLNAME]["spec"][key] == clustered.of("StatefulSet")[FULLNAME]["spec"][key]


def test_zones_are_statefulsets_that_wait_for_their_restart():
    manifests = rendered(CHART / "ci" / "distributed-zones-rollout-values.yaml")
    sets = manifests.of("StatefulSet")
    assert sorted(sets) == [f"{FULLNAME}-ingester-zone-{zone}" for zone in "abc"]
    for zone, item in zip("abc", (sets[key] for key in sorted(sets))):
        spec = item["spec"]
        assert spec["replicas"] == 3, "seven in three zones of the same size"
        assert spec["updateStrategy"] == {"type": "OnDelete"}
        assert f"-ingester.availability-zone=zone-{zone}" in spec["template"]["spec"]["containers"][0]["args"]
        apart = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert apart[0]["labelSelector"]["matchExpressions"] == [{"key": "zone", "operator": "NotIn", "values": [f"zone-{zone}"]}]
    assert manifests.configuration()["ingester"]["lifecycler"]["ring"]["zone_awareness_enabled"] is True
    budget = manifests.of("PodDisruptionBudget")[f"{FULLNAME}-ingester"]
    assert budget["spec"]["maxUnavailable"] == 1
    placed_zones = rendered(CHART / "ci" / "clustered-zones-values.yaml").of("StatefulSet")
    zone = placed_zones[f"{FULLNAME}-zone-c"]["spec"]
    assert zone["replicas"] == 2
    assert zone["template"]["spec"]["nodeSelector"] == {"topology.kubernetes.io/zone": "europe-west1-d"}
    assert zone["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "zone-d"


def test_a_change_of_the_pods_makes_another_rollout_job(tmp_path):
    values = CHART / "ci" / "distributed-zones-rollout-values.yaml"
    done = template("--values", values, "--set", "tactus.image.tag=next")
    assert done.returncode == 0, done.stderr
    (before,), (after,) = rendered(values).of("Job"), Manifests(done.stdout).of("Job")
    assert before != after
    same = template("--values", values, "--set", "querier.replicas=5")
    assert list(Manifests(same.stdout).of("Job")) == [before]


def test_ingesters_that_are_scaled_flush_and_leave_one_by_one():
    manifests = rendered(CHART / "ci" / "distributed-autoscaling-values.yaml")
    assert manifests.configuration()["ingester"]["flush_all_on_shutdown"] is True
    scaler = manifests.of("HorizontalPodAutoscaler")[f"{FULLNAME}-ingester"]["spec"]
    assert scaler["behavior"]["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 600}]
    compactor = manifests.of("HorizontalPodAutoscaler")[f"{FULLNAME}-compactor"]["spec"]["metrics"]
    assert [(m["resource"]["name"], m["resource"]["target"]["averageUtilization"]) for m in compactor] == [("cpu", 90), ("memory", 80)]
    triggers = manifests.of("ScaledObject")[f"{FULLNAME}-querier"]["spec"]["triggers"]
    assert triggers[0]["metadata"]["query"] == 'sum(tempo_query_frontend_queue_length{namespace="tracing"})'


def test_a_component_that_may_have_many_pods_has_a_disruption_budget(tmp_path):
    values = {
        **S3, "mode": "distributed", "queryFrontend": {"replicas": 1}, "compactor": {"autoscaling": {"enabled": True, "maxReplicas": 1}},
        "querier": {"autoscaling": {"enabled": True, "maxReplicas": 50, "keda": {"enabled": True, "triggers": [{"type": "cpu"}]}}},
        "distributor": {"autoscaling": {"enabled": True, "maxReplicas": 20}}}
    budgets = render(tmp_path, values).of("PodDisruptionBudget")
    assert sorted(budgets) == [f"{FULLNAME}-{component}" for component in ("distributor", "ingester", "querier")]
    assert budgets[f"{FULLNAME}-querier"]["spec"]["maxUnavailable"] == 1


def test_pods_restart_with_their_configuration_and_not_with_limits(tmp_path):
    def checksums(values):
        return {
            item["metadata"]["name"]: item["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for item in render(tmp_path, values).workloads()}

    before = checksums({})
    assert checksums({"per_tenant_overrides": {"a": {"global": {"max_bytes_per_trace": 1}}}}) == before
    assert checksums({"server": {"logLevel": "debug"}}) != before


def test_configuration_and_limits_are_secrets_together(tmp_path):
    for kind, other, source in (("ConfigMap", "Secret", "configMap"), ("Secret", "ConfigMap", "secret")):
        manifests = render(tmp_path, {"configStorageType": kind, "per_tenant_overrides": {"a": {}}})
        names = {f"{FULLNAME}-config", f"{FULLNAME}-runtime"}
        assert names <= set(manifests.of(kind)) and not names & set(manifests.of(other))
        ((_, _, spec),) = [pod for pod in manifests.pods() if "runtime-config" in {v["name"] for v in pod[2].get("volumes", [])}]
        volumes = [volume for volume in spec["volumes"] if volume["name"] in ("config", "runtime-config")]
        assert len(volumes) == 2 and all(source in volume for volume in volumes)


def test_probes_follow_the_ports_of_the_configuration(tmp_path):
    tls = {"http_tls_config": {"cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key"}}
    secure = render(tmp_path, {"tactus": {"structuredConfig": {"server": tls}}})
    (_, _, container), = secure.processes()
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http-metrics", "scheme": "HTTPS"}
    internal = rendered(CHART / "ci" / "distributed-tls-values.yaml")
    for _, _, container in internal.processes():
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http-internal"}
        assert {"name": "http-internal", "containerPort": 3101} in container["ports"]


def opened(manifests):
    """Ports of all Tactus containers and of their Services by name; a name has the same port everywhere."""
    found = {}
    components = {labels["app.kubernetes.io/component"] for _, labels, spec in manifests.pods() if port_names(spec) & {"grpc"}}
    ports = [(port["name"], port["containerPort"]) for _, _, container in manifests.processes() for port in container["ports"]]
    ports += [
        (port["targetPort"], port["port"]) for service in manifests.of("Service").values()
        if service["metadata"]["labels"]["app.kubernetes.io/component"] in {*components, "gossip-ring"}
        for port in service["spec"]["ports"] if port["name"] != "grpclb"]
    for port, number in ports:
        assert found.setdefault(port, number) == number, port
    return found


EVERYTHING = {
    **S3, "mode": "distributed", "gateway": {"enabled": True}, "checker": {"enabled": True}, "networkPolicy": {"enabled": True},
    "traces": {
        "jaeger": {protocol: {"enabled": True} for protocol in ("grpc", "thriftHttp", "thriftCompact", "thriftBinary")},
        "zipkin": {"enabled": True}}}
RECEIVERS = {
    "otlp": {"protocols": {"grpc": {"endpoint": ":5301"}, "http": {"endpoint": "[::]:5302"}}},
    "jaeger": {"protocols": {
        "grpc": {"endpoint": "0.0.0.0:5303"}, "thrift_http": {"endpoint": ":5304"}, "thrift_compact": {"endpoint": ":5305"},
        "thrift_binary": {"endpoint": ":5306"}}},
    "zipkin": {"endpoint": ":5307"}}
PORTS = {
    "server": {"http_listen_port": 5200, "grpc_listen_port": 9096, "internal_grpc_listen_port": 5202}, "memberlist": {"bind_port": 5203},
    "distributor": {"receivers": RECEIVERS}}
# Ways to the same ports.
WITH_PORTS = {
    "structured": {"tactus": {"structuredConfig": PORTS}},
    "structured, by the older name": {"tempo": {"structuredConfig": PORTS}},
    "sections": {
        "server": {"httpListenPort": 5200, "grpc_listen_port": 9096, "internalGrpcPort": 5202}, "memberlist": PORTS["memberlist"],
        "distributor": {"config": PORTS["distributor"]}},
    "values": {
        "server": PORTS["server"], "memberlist": PORTS["memberlist"],
        "traces": {
            "otlp": {"grpc": {"port": 5301}, "http": {"port": 5302}},
            "jaeger": {"grpc": {"port": 5303}, "thriftHttp": {"port": 5304}, "thriftCompact": {"port": 5305}, "thriftBinary": {"port": 5306}},
            "zipkin": {"port": 5307}}},
    "configurations of receivers": {
        "server": PORTS["server"], "memberlist": PORTS["memberlist"],
        "traces": {
            **{family: {protocol: {"receiverConfig": {"endpoint": f":{port}"}} for protocol, port in of.items()} for family, of in {
                "otlp": {"grpc": 5301, "http": 5302},
                "jaeger": {"grpc": 5303, "thriftHttp": 5304, "thriftCompact": 5305, "thriftBinary": 5306}}.items()},
            "zipkin": {"receiverConfig": {"protocols": {"http": {"endpoint": ":5307"}}}}}},
}


@pytest.mark.parametrize("way", WITH_PORTS)
def test_everything_follows_the_ports_of_the_configuration(way, tmp_path):
    before, after = render(tmp_path, EVERYTHING), render(tmp_path, merge(EVERYTHING, WITH_PORTS[way]))
    usual = {
        "http-metrics": 3200, "grpc": 9095, "http-memberlist": 7946, "grpc-otlp": 4317, "otlp-http": 4318, "grpc-jaeger": 14250,
        "jaeger-http": 14268, "jaeger-compact": 6831, "jaeger-binary": 6832, "zipkin": 9411}
    assert usual.items() <= opened(before).items() and "grpc-internal" not in opened(before)
    changed = {
        "http-metrics": 5200, "grpc": 9096, "grpc-internal": 5202, "http-memberlist": 5203, "grpc-otlp": 5301, "otlp-http": 5302,
        "grpc-jaeger": 5303, "jaeger-http": 5304, "jaeger-compact": 5305, "jaeger-binary": 5306, "zipkin": 5307}
    found = opened(after)
    assert changed.items() <= found.items()
    assert after.configuration()["memberlist"]["join_members"] == [f"dns+{FULLNAME}-gossip-ring.tracing.svc.cluster.local:5203"]
    # Kubernetes takes no port twice.
    for service in after.of("Service").values():
        assert len({(port["port"], port.get("protocol")) for port in service["spec"]["ports"]}) == len(service["spec"]["ports"])
    upstreams = re.findall(r"set \$upstream (\w+)://t-tactus-([a-z-]+)\S+:(\d+);", after.file("nginx.conf"))
    assert set(upstreams) == {
        ("http", "distributor", "5302"), ("http", "distributor", "5304"), ("http", "distributor", "5307"), ("grpc", "distributor", "5301"),
        ("http", "query-frontend", "5200"), ("grpc", "query-frontend", "5200"), ("grpc", "query-frontend", "9096")}
    for manifests, grpc, http in ((before, 4317, 3200), (after, 5301, 5200)):
        (checker,) = manifests.of("Deployment")[f"{FULLNAME}-checker"]["spec"]["template"]["spec"]["containers"]
        assert f"--push-url=grpc://{FULLNAME}-distributor.tracing.svc.cluster.local:{grpc}" in checker["args"]
        assert f"--query-url=http://{FULLNAME}-query-frontend.tracing.svc.cluster.local:{http}" in checker["args"]
        assert manifests.of("Pod")[f"{FULLNAME}-test"]["spec"]["containers"][0]["command"][-1].endswith(f":{http}/ready")
    policies = after.of("NetworkPolicy")
    assert "grpc-internal" in {port["port"] for rule in policies[f"{FULLNAME}-querier"]["spec"]["ingress"] for port in rule["ports"]}
    assert_taken(after, tmp_path)


def test_ports_of_an_own_template_and_for_an_existing_secret_are_followed(tmp_path):
    own = "server: {http_listen_port: 5200}\ndistributor: {receivers: {otlp: {protocols: {grpc: {endpoint: ':5301'}, http: null}}}}\n"
    found = opened(render(tmp_path, {"config": own}))
    assert (found["http-metrics"], found["grpc"], found["grpc-otlp"], found["otlp-http"]) == (5200, 9095, 5301, 4318)
    existing = {"useExternalConfig": True, "externalConfigSecretName": "s", "server": {"httpListenPort": 5200, "grpc_listen_port": 5201}}
    found = opened(render(tmp_path, existing))
    assert (found["http-metrics"], found["grpc"], found["grpc-otlp"]) == (5200, 5201, 4317)


def test_ports_that_are_variables_are_those_of_the_values(tmp_path):
    found = opened(render(tmp_path, {
        "tactus": {"expandEnv": True, "structuredConfig": {"server": {"http_listen_port": "${HTTP_PORT:5200}"}}},
        "server": {"httpListenPort": 5200},
        "traces": {"otlp": {"grpc": {"port": 5301, "receiverConfig": {"endpoint": "0.0.0.0:${OTLP_PORT:5301}"}}}}}))
    assert (found["http-metrics"], found["grpc-otlp"]) == (5200, 5301)


def test_own_template_with_the_base_of_the_chart_joins_the_others(tmp_path):
    rendered = render(tmp_path, {**S3, "mode": "distributed", "config": '{{ include "tactus.baseConfig" . }}'})
    assert "gossip-ring" in rendered.configuration()["memberlist"]["join_members"][0]


def test_own_members_to_join_are_kept(tmp_path):
    values = {**S3, "mode": "distributed", "memberlist": {"bind_port": 5203, "join_members": ["elsewhere:7946"]}}
    assert render(tmp_path, values).configuration()["memberlist"]["join_members"] == ["elsewhere:7946"]


def test_tls_of_a_receiver_is_that_of_the_configuration(tmp_path):
    tls = {"tls": {"cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key"}}
    receivers = {"otlp": {"protocols": {"grpc": tls, "http": tls}}}
    manifests = render(tmp_path, {
        "gateway": {"enabled": True}, "checker": {"enabled": True}, "tactus": {"structuredConfig": {"distributor": {"receivers": receivers}}}})
    assert "set $upstream https://t-tactus.tracing.svc.cluster.local:4318;" in manifests.file("nginx.conf")
    assert "set $upstream grpcs://t-tactus.tracing.svc.cluster.local:4317;" in manifests.file("nginx.conf")
    assert f"--push-url=grpcs://{FULLNAME}.tracing.svc.cluster.local:4317" in manifests.text
    assert_taken(manifests, tmp_path)


class Once(yaml.SafeLoader):
    """Refuses a key that stands twice, of which others take the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), (node.start_mark, keys)
        return super().construct_mapping(node, deep)


def test_labels_and_annotations_of_several_places_stand_once_and_leave_selectors_alone(tmp_path):
    def marks(place):
        own = {"app.kubernetes.io/part-of": place, "app.kubernetes.io/component": place, "team": place}
        return {"podLabels": own, "podAnnotations": {"team": place, "checksum/config": place}}

    values = {
        **S3, "mode": "distributed", "global": {"commonLabels": marks("common")["podLabels"], **marks("global")},
        "tactus": marks("all"), "gateway": {"enabled": True, **marks("gateway"), "service": {"labels": {"team": "service"}}},
        "querier": {**marks("querier"), "service": {"labels": {"team": "service"}}},
    }
    done = template("--values", values_file(tmp_path, values))
    assert done.returncode == 0, done.stderr
    assert list(yaml.load_all(done.stdout, Once))
    manifests = Manifests(done.stdout)
    gossip = manifests.of("Service")[f"{FULLNAME}-gossip-ring"]["spec"]["selector"]
    pods = {name.removeprefix(f"{FULLNAME}-"): labels for name, labels, _ in manifests.pods()}
    for name in ("querier", "ingester", "distributor"):
        assert gossip.items() <= pods[name].items() and pods[name]["app.kubernetes.io/component"] == name
    assert [pods[name]["team"] for name in ("querier", "ingester", "gateway")] == ["querier", "all", "gateway"]
    services = manifests.of("Service")
    assert services[f"{FULLNAME}-querier"]["metadata"]["labels"]["team"] == "service"
    assert services[f"{FULLNAME}-ingester"]["metadata"]["labels"]["team"] == "common"


def test_labels_of_objects_stand_once_and_those_of_their_section_win(tmp_path):
    common = {"release": "common", "grafana_dashboard": "0", "zone": "common", "prometheus.io/service-monitor": "common"}
    own = {"release": "own", "app.kubernetes.io/component": "own"}
    done = template("--values", values_file(tmp_path, {
        **S3, "mode": "distributed", "global": {"commonLabels": common, "podLabels": common}, "prometheusRule": {"enabled": True, "labels": own},
        "ingester": {"zoneAwareReplication": {"enabled": True}}, "rollout": {"job": {"enabled": True}}, "memcached": {"enabled": True},
        "checker": {"enabled": True}, "networkPolicy": {"enabled": True}, "serviceAccount": {"create": True},
        "metaMonitoring": {"serviceMonitor": {"enabled": True, "labels": own}, "dashboards": {"enabled": True}},
        "gateway": {
            "enabled": True, "ingress": {"enabled": True, "labels": own},
            "route": {"enabled": True, "grpc": True, "parentRefs": [{"name": "g"}], "labels": own}}}))
    assert done.returncode == 0, done.stderr
    assert list(yaml.load_all(done.stdout, Once))
    manifests = Manifests(done.stdout)
    for kind in ("ServiceMonitor", "PrometheusRule", "Ingress", "HTTPRoute", "GRPCRoute"):
        for name, item in manifests.of(kind).items():
            labels = item["metadata"]["labels"]
            assert labels["release"] == "own" and labels["app.kubernetes.io/component"] != "own", name
    dashboards = [item for name, item in manifests.of("ConfigMap").items() if "-dashboard-" in name]
    assert dashboards and all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in dashboards)
    assert manifests.of("StatefulSet")[f"{FULLNAME}-ingester-zone-b"]["metadata"]["labels"]["zone"] == "zone-b"
    gossip = manifests.of("Service")[f"{FULLNAME}-gossip-ring"]["metadata"]["labels"]
    assert gossip["prometheus.io/service-monitor"] == "false"


def test_pods_of_jobs_and_tests_have_what_all_pods_have(tmp_path):
    manifests = render(tmp_path, {
        **S3, "mode": "distributed", "ingester": {"zoneAwareReplication": {"enabled": True}}, "gateway": {"resources": {"limits": {"memory": "64Mi"}}},
        "global": {"priorityClassName": "high", "podLabels": {"team": "all", "mark": "x"}, "podAnnotations": {"linkerd.io/inject": "enabled", "note": "x"}},
        "rollout": {"job": {"enabled": True, "podLabels": {"team": "job"}, "podAnnotations": {"linkerd.io/inject": "disabled"}}}})
    (job,), (test,) = manifests.of("Job").values(), manifests.of("Pod").values()
    pod = job["spec"]["template"]
    assert pod["metadata"]["labels"].items() >= {"team": "job", "mark": "x", "app.kubernetes.io/component": "rollout"}.items()
    assert pod["metadata"]["annotations"] == {"linkerd.io/inject": "disabled", "note": "x"}
    assert test["metadata"]["labels"].items() >= {"team": "all", "mark": "x"}.items()
    assert test["metadata"]["annotations"].items() >= {"linkerd.io/inject": "enabled", "helm.sh/hook": "test"}.items()
    assert pod["spec"]["priorityClassName"] == test["spec"]["priorityClassName"] == "high"
    assert test["spec"]["containers"][0]["resources"] == {"limits": {"memory": "64Mi"}}


@pytest.mark.parametrize("enabled", [True, False])
def test_chart_that_depends_on_this_one_may_have_a_condition_and_globals_of_others(enabled, tmp_path):
    (tmp_path / "charts").mkdir()
    shutil.copytree(CHART, tmp_path / "charts" / "tactus")
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({
        "apiVersion": "v2", "name": "parent", "version": "0.1.0",
        "dependencies": [{"name": "tactus", "version": "*", "condition": "tactus.enabled"}]}))
    values_file(tmp_path, {"tactus": {"enabled": enabled}, "global": {"image": {"tag": "1", "pullPolicy": "Always"}, "region": "eu"}})
    done = helm("template", "t", tmp_path, "--kube-version", "1.33.0")
    assert done.returncode == 0, done.stderr
    assert bool(Manifests(done.stdout).of("StatefulSet")) == enabled


def test_claims_are_as_servers_store_them(tmp_path):
    manifests = render(tmp_path, {
        "mode": "distributed", "minio": {"enabled": True, "rootUser": "root", "rootPassword": "password"}, "metricsGenerator": {"enabled": True}})
    claims = {name: item["spec"]["volumeClaimTemplates"][0] for name, item in manifests.of("StatefulSet").items()}
    assert len(claims) == 3
    assert all((claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim") for claim in claims.values())


def test_gateway_listens_on_ipv6_if_services_have_it_or_it_is_told(tmp_path):
    def listens(enable=None, **service):
        text = render(tmp_path, {
            "tactus": {"service": service}, "gateway": {"enabled": True, "nginxConfig": {"enableIPv6": enable}}}).file("nginx.conf")
        found = set(re.findall(r"listen (\S+?):?(\d+)[ ;]", text.replace("listen ", "listen *:").replace("*:[", "[")))
        assert {("*", "8080"), ("*", "4317")} <= found
        return {("[::]", "8080"), ("[::]", "4317")} <= found

    assert not listens() and listens(True)
    assert listens(ipFamilies=["IPv6"]) and listens(ipFamilies=["IPv4", "IPv6"]) and not listens(ipFamilies=["IPv4"])
    # With PreferDualStack a cluster may have IPv4 alone, where nginx would not start.
    assert listens(ipFamilyPolicy="RequireDualStack") and not listens(ipFamilyPolicy="PreferDualStack")
    assert not listens(False, ipFamilies=["IPv6"], ipFamilyPolicy="RequireDualStack")


def test_gateway_tells_the_host_with_its_port(tmp_path):
    text = render(tmp_path, {"gateway": {"enabled": True}}).file("nginx.conf")
    assert re.findall(r"proxy_set_header Host (\S+);", text) == ["$http_host"]


def users(tmp_path, **basic):
    return render(tmp_path, {"gateway": {"enabled": True, "basicAuth": {"enabled": True, **basic}}}).file(".htpasswd")


def test_hash_of_a_password_is_right_and_the_same_at_each_rendering(tmp_path):
    for password in ("correct horse", "ä'\"\\: {{", "7"):
        line = users(tmp_path, username="alice", password=password)
        assert line == users(tmp_path, username="alice", password=password)
        name, _, hashed = line.partition(":{SSHA}")
        stored = base64.b64decode(hashed, validate=True)
        digest, salt = stored[:20], stored[20:]
        assert name == "alice" and len(salt) == 16
        assert digest == hashlib.sha1(password.encode() + salt).digest()
    assert users(tmp_path, username="bob", password="7").partition(":")[2] != line.partition(":")[2], "each user has a salt"


def test_users_may_be_lines_of_htpasswd(tmp_path):
    lines = "alice:$apr1$a$b\n{{ .Release.Name }}:{PLAIN}x\n"
    assert users(tmp_path, htpasswd=lines) == "alice:$apr1$a$b\nt:{PLAIN}x\n"
    assert users(tmp_path, htpasswd=lines, username="u", password="p").startswith("alice:")
    # What tempo-distributed has there.
    of_tempo = "{{ htpasswd (required \"'gateway.basicAuth.username' is required\" .Values.gateway.basicAuth.username) .Values.gateway.basicAuth.password }}"
    assert users(tmp_path, htpasswd=of_tempo, username="u", password="p").startswith("u:$2a$")


def test_gateway_has_the_ports_of_nodes_that_are_named(tmp_path):
    def service(**values):
        spec = render(tmp_path, {"gateway": {"enabled": True, "service": values}}).of("Service")[f"{FULLNAME}-gateway"]["spec"]
        return [port.get("nodePort") for port in spec["ports"]], spec.get("clusterIP")

    ports = {"nodePort": 30080, "grpcOtlpNodePort": 30317}
    for kind in ("NodePort", "LoadBalancer"):
        assert service(type=kind, **ports) == ([30080, 30317], None)
        assert service(type=kind, nodePort=30080) == ([30080, None], None)
    # Servers refuse them there.
    assert service(**ports, clusterIP="10.0.0.9") == ([None, None], "10.0.0.9")


def test_policies_let_dns_of_other_ports_through_and_extra_rules_also_of_the_gateway(tmp_path):
    extra = [{"ports": [{"port": 8443}]}]
    policies = render(tmp_path, {
        **S3, "mode": "distributed", "gateway": {"enabled": True}, "memcached": {"enabled": True},
        "networkPolicy": {"enabled": True, "egress": {"enabled": True, "dnsPorts": [53, 5353], "extra": extra}}}).of("NetworkPolicy")
    dns = {"ports": [{"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")]}
    for name, policy in policies.items():
        egress = policy["spec"]["egress"]
        assert egress[0] == dns and all(rule.get("ports") or rule.get("to") for rule in egress)
        assert (extra[0] in egress) == ("memcached" not in name), name
    assert {"ports": [{"port": 443}]} not in policies[f"{FULLNAME}-gateway"]["spec"]["egress"]
    none = render(tmp_path, {"networkPolicy": {"enabled": True, "egress": {"enabled": True, "dnsPorts": []}}}).of("NetworkPolicy")[FULLNAME]
    assert all(rule.get("ports") or rule.get("to") for rule in none["spec"]["egress"]), "a rule without ports would let everything through"


def test_values_for_openshift_leave_the_user_to_it(tmp_path):
    (values,) = [yaml.safe_load(text) for text in SHOWN if "openshift" in text]
    manifests = render(tmp_path, merge(values, {"gateway": {"enabled": True}, "networkPolicy": {"enabled": True, "egress": {"enabled": True}}}))
    for name, _, spec in manifests.pods():
        assert spec["securityContext"].keys().isdisjoint({"runAsUser", "runAsGroup", "fsGroup"}), name
        assert spec["securityContext"]["runAsNonRoot"] is True
    assert "resolver dns-default.openshift-dns.svc.cluster.local" in manifests.file("nginx.conf")
    assert all({"port": 5353, "protocol": "UDP"} in item["spec"]["egress"][0]["ports"] for item in manifests.of("NetworkPolicy").values())


def test_names_of_long_releases_are_short_enough_and_differ(tmp_path):
    zones = {"enabled": True, "zones": [{"name": f"zone-{letter}"} for letter in "abc"]}
    values = {**S3, "mode": "distributed", "fullnameOverride": "x" * 60, "metricsGenerator": {"enabled": True}, "ingester": {"zoneAwareReplication": zones}}
    manifests = Manifests(template("--values", values_file(tmp_path, values)).stdout)
    # A hash of ten characters follows in a label.
    assert all(len(name) <= 52 for name in manifests.of("StatefulSet"))
    assert all(len(name) <= 63 for name in manifests.of("Service"))
    assert len(manifests.of("StatefulSet")) == 4 and len(manifests.objects) == len({(it["kind"], it["metadata"]["name"]) for it in manifests.objects})


def test_clients_of_jaeger_and_zipkin_find_their_ports(tmp_path):
    def ports(values, name):
        manifests = Manifests(template("--values", values_file(tmp_path, {**S3, "mode": "distributed", **values})).stdout)
        return {port["name"]: port["port"] for port in manifests.of("Service")[f"{FULLNAME}-{name}"]["spec"]["ports"]}

    found = ports({}, "query-frontend")
    assert found["jaeger-query"] == 16686 and found["grpc-jaeger-api"] == 16685 and found["zipkin-query"] == 9411
    assert ports({}, "distributor")["sampling"] == 5778
    other = {"tactus": {"structuredConfig": {"query_frontend": {"jaeger": {"http": {"endpoint": ":80"}, "grpc": {"endpoint": ""}}}}}}
    found = ports(other, "query-frontend")
    assert found["jaeger-query"] == 80 and "grpc-jaeger-api" not in found
    # With a variable the usual one; of null the server makes the usual one, too.
    variable, none = {"endpoint": "0.0.0.0:${JAEGER_PORT:16686}"}, {"endpoint": None}
    other = {"tactus": {"expandEnv": True, "structuredConfig": {"query_frontend": {"jaeger": {"http": variable, "grpc": none}, "zipkin": None}}}}
    assert ports(other, "query-frontend") == ports({}, "query-frontend")


def test_gateway_knows_the_prefix_of_the_query_api(tmp_path):
    values = {"gateway": {"enabled": True}, "tactus": {"structuredConfig": {"http_api_prefix": "/tempo/"}}}
    text = Manifests(template("--values", values_file(tmp_path, values)).stdout).file("nginx.conf")
    assert "location ^~ /tempo/api {" in text and "location ^~ /tempo/ui {" in text


def test_deployment_that_is_recreated_has_no_rolling_update(tmp_path):
    values = {**S3, "mode": "distributed", "querier": {"strategy": {"type": "Recreate"}}}
    manifests = Manifests(template("--values", values_file(tmp_path, values)).stdout)
    assert manifests.of("Deployment")[f"{FULLNAME}-querier"]["spec"]["strategy"] == {"type": "Recreate"}


# --- what is refused -------------------------------------------------------------------------------------------------

# Values and a part of the text.
REFUSED = {
    "key that is not there": ({"nonsense": 1}, "nonsense"),
    "key of a component that is not there": ({"distributor": {"replica": 1}}, "replica"),
    "key below a component": ({"ingester": {"persistence": {"sizes": "1Gi"}}}, "sizes"),
    "mode": ({"mode": "scalable"}, "mode"),
    "type of replicas": ({"querier": {"replicas": "two"}}, "replicas"),
    "negative replicas": ({"compactor": {"replicas": -1}}, "replicas"),
    "no ingester": ({"ingester": {"replicas": 0}}, "replicas"),
    "type of a list": ({"querier": {"extraArgs": "-log.level=debug"}}, "extraArgs"),
    "backend": ({"storage": {"trace": {"backend": "floppy"}}}, "backend"),
    "port of a receiver": ({"traces": {"otlp": {"grpc": {"port": 80}}}}, "port"),
    "port of Jaeger": ({"traces": {"jaeger": {"grpc": {"port": 80}}}}, "port"),
    "port that the system chooses": ({"server": {"grpc_listen_port": 0}}, "server.grpc_listen_port:"),
    "port of gossip": ({**S3, "mode": "distributed", "memberlist": {"bind_port": 0}}, "memberlist.bind_port:"),
    "endpoint without a port": (
        {"traces": {"jaeger": {"grpc": {"enabled": True, "receiverConfig": {"endpoint": "localhost"}}}}},
        "distributor.receivers.jaeger.protocols.grpc.endpoint (of traces.jaeger.grpc)"),
    "receiver": ({"traces": {"kafka": {}}}, "kafka"),
    "log level": ({"server": {"logLevel": "loud"}}, "logLevel"),
    "tag that is a number": ({"tactus": {"image": {"tag": 1.5}}}, "tag"),
    "zone without a name": ({"ingester": {"zoneAwareReplication": {"zones": [{"name": "a"}, {}]}}}, "name"),
    "zone with a name that is none": ({"ingester": {"zoneAwareReplication": {"zones": [{"name": "a"}, {"name": "B_"}]}}}, "name"),
    "storage of the configuration": ({"configStorageType": "File"}, "configStorageType"),
    "tenant of a user": ({"gateway": {"tenants": {"a": 1}}}, "tenants"),
    "image of Tempo": ({"tempo": {"image": {"tag": "2.9.0"}}}, "tempo.image"),
    "several processes on local disk": ({"mode": "distributed"}, "needs a bucket"),
    "fewer ingesters than copies": ({**S3, "mode": "distributed", "ingester": {"replicas": 2}}, "fewer than the 3 copies"),
    "fewer processes than copies": ({**S3, "mode": "clustered", "singleBinary": {"replicas": 2}}, "fewer than the 3 copies"),
    "copies by the component": (
        {**S3, "mode": "distributed", "ingester": {"config": {"replication_factor": 5}}}, "fewer than the 5 copies"),
    "fewer zones than copies": ({**S3, "mode": "distributed", "replicationFactor": 3, "ingester": {
        "zoneAwareReplication": {"enabled": True, "zones": [{"name": "a"}, {"name": "b"}]}}}, "2 zones"),
    "zones of one name": ({**S3, "mode": "distributed", "ingester": {
        "zoneAwareReplication": {"enabled": True, "zones": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}}}, "two are named a"),
    "zone with a long name": ({**S3, "mode": "distributed", "ingester": {
        "zoneAwareReplication": {"enabled": True, "zones": [{"name": "a"}, {"name": "b"}, {"name": "c" * 35}]}}}, "53 characters, more than 52"),
    "zones that are scaled": ({**S3, "mode": "distributed", "ingester": {
        "autoscaling": {"enabled": True, "minReplicas": 3}, "zoneAwareReplication": {"enabled": True}}}, "zones would differ"),
    "scaled below the copies": (
        {**S3, "mode": "distributed", "ingester": {"autoscaling": {"enabled": True}}}, "autoscaling.minReplicas"),
    "KEDA without triggers": (
        {**S3, "mode": "distributed", "querier": {"autoscaling": {"enabled": True, "keda": {"enabled": True}}}}, "triggers"),
    "scaled to fewer than the least": (
        {**S3, "mode": "distributed", "querier": {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}}}, "fewer than minReplicas"),
    "scaled by nothing": (
        {**S3, "mode": "distributed", "querier": {"autoscaling": {
            "enabled": True, "targetCPUUtilizationPercentage": None, "targetMemoryUtilizationPercentage": None}}}, "autoscaling needs"),
    "ingress without a host": ({"gateway": {"enabled": True, "ingress": {"enabled": True, "hosts": []}}}, "ingress.hosts"),
    "scaled single process": ({"singleBinary": {"autoscaling": {"enabled": True}}}, "not scaled"),
    "passwords without users": ({"gateway": {"enabled": True, "basicAuth": {"enabled": True}}}, "existingSecret"),
    "user with a colon": (
        {"gateway": {"enabled": True, "basicAuth": {"enabled": True, "username": "a:b", "password": "c"}}}, "username must not have a :"),
    "port of nodes that is a text": ({"gateway": {"service": {"nodePort": "http"}}}, "nodePort"),
    "tenants without passwords": ({"multitenancyEnabled": True, "gateway": {"enabled": True, "tenants": {"a": "b"}}}, "basicAuth"),
    "tenant with a variable of nginx": ({"multitenancyEnabled": True, "gateway": {
        "enabled": True, "basicAuth": {"enabled": True, "existingSecret": "s"}, "tenants": {"a": "$host"}}}, "the tenant of a has a $"),
    "ingress without a gateway": ({"gateway": {"ingress": {"enabled": True}}}, "gateway.enabled"),
    "route without a parent": ({"gateway": {"enabled": True, "route": {"enabled": True}}}, "parentRefs"),
    "checker without a tenant": ({"multitenancyEnabled": True, "checker": {"enabled": True}}, "checker.tenants"),
    "checker without a way in": (
        {"checker": {"enabled": True}, "traces": {"otlp": {"grpc": {"enabled": False}, "http": {"enabled": False}}}}, "checker.pushUrls"),
    "no receiver": ({"traces": {"otlp": {"grpc": {"enabled": False}, "http": {"enabled": False}}}}, "every receiver is off"),
    "two checkers": ({"checker": {"enabled": True, "autoscaling": {"enabled": True}}}, "not scaled"),
    "MinIO without keys": ({"minio": {"enabled": True}}, "rootUser"),
    "MinIO with a short password": ({"minio": {"enabled": True, "rootUser": "root", "rootPassword": "short"}}, "8 characters"),
    "MinIO with a password that ends its quotes": ({"minio": {"enabled": True, "rootUser": "root", "rootPassword": "it's a password"}}, "must not have a '"),
    "configuration of a Secret without a name": ({"useExternalConfig": True}, "externalConfigSecretName"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_cannot_be_are_refused_with_their_name(case, tmp_path):
    values, part = REFUSED[case]
    done = template("--values", values_file(tmp_path, values))
    assert done.returncode != 0
    assert part in done.stderr, done.stderr
