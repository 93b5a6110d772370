"""The image, the compose files, the service of systemd and the Debian package: well formed, and what they start works. Services of compose
files run as processes on machines of a network (harness/netns.py), with the ports, names, files and variables that the file gives."""
import json
import re
import subprocess
import sys
import tomllib

import pytest
import requests
import yaml

from harness import otlp
from harness.containers import Compose, Service, compose, image, is_server, is_tactus
from harness.netns import Network
from harness.paths import CACHE, REPOSITORY, tactus_binary
from harness.tools import need
from harness.waiting import eventually

DEPLOY = REPOSITORY / "deploy"
COMPOSE = sorted((DEPLOY / "compose").glob("*.yaml"))
SYSTEMD = DEPLOY / "systemd"


@pytest.fixture
def network():
    with Network() as network:
        yield network


def push(url, service):
    """A trace by OTLP over HTTP; its id in hex."""
    root = otlp.span(name="GET /", kind=otlp.Span.SPAN_KIND_SERVER)
    body = otlp.export(root, service=service).SerializeToString()
    answer = requests.post(url + "/v1/traces", data=body, headers={"Content-Type": "application/x-protobuf"}, timeout=5)
    assert answer.status_code == 200, answer.text
    return root.trace_id.hex()


def assert_found(url, trace_id, service):
    def found():
        by_id = requests.get(f"{url}/api/v2/traces/{trace_id}", timeout=5)
        search = requests.get(url + "/api/search", params={"q": f'{{ resource.service.name = "{service}" }}'}, timeout=5)
        assert by_id.status_code == search.status_code == 200, (by_id.text, search.text)
        return [trace["traceID"].rjust(32, "0") for trace in search.json()["traces"]] == [trace_id]

    eventually(found, f"{trace_id} is found by id and by search", 60, interval=0.2)


# --- compose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_file_names_files_volumes_and_services_that_are_there(path):
    document = compose(path)
    volumes = document.get("volumes", {})
    for name, service in document["services"].items():
        assert is_tactus(service) or ":" in service["image"], f"{name}: images of others have a version"
        if is_tactus(service):
            assert (path.parent / service["build"]["context"] / "Dockerfile").resolve() == REPOSITORY / "Dockerfile"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (path.parent / source).exists() if source.startswith(".") else source in volumes, f"{name}: {volume}"
        assert set(service.get("depends_on", [])) <= document["services"].keys()
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1(/udp)?", port), f"{name}: {port} is published to everybody"
            if is_tactus(service):
                assert port.split(":")[2] in image()[2], f"{name}: the image does not name {port}"
    if "grafana" in document["services"]:
        grafana = document["services"]["grafana"]
        sources = (DEPLOY / "grafana/provisioning/datasources/tactus.yaml").read_text()
        for variable in re.findall(r"\$\{(\w+)\}", sources):
            host = re.fullmatch(r"http://([\w-]+):\d+", grafana["environment"][variable])[1]
            assert host in document["services"], variable
        (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tactus.yaml").read_text())["providers"]
        assert f"../grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_configurations_of_a_compose_file_are_verified(path, tmp_path):
    services = {name: service for name, service in compose(path)["services"].items() if is_server(service)}
    assert services
    for name, service in services.items():
        done = Service(name, service, path.parent, None, tmp_path / name, [tactus_binary()]).verify()
        assert done.returncode == 0, (name, done.stderr)


# Nobody waits in a test for what happens four times a minute.
OFTEN = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}}
CHANGES = {
    "prometheus.yaml": OFTEN, "prometheus-distributed.yaml": OFTEN,
    "single.yaml": {"metrics_generator": {"registry": {"collection_interval": "1s"}}},
    "distributed.yaml": {
        "ingester": {"lifecycler": {"min_ready_duration": "0s"}},
        "compactor": {"ring": {"wait_stability_min_duration": "0s", "wait_stability_max_duration": "1s"}}},
}
S3 = [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "9000"]


def programs():
    """Programs of this machine for the images of others. The names are those of compose files."""
    return {"prom/prometheus": [need("prometheus"), "--storage.tsdb.path=/var/lib/prometheus"], "minio/minio": S3}


def test_single_process_with_prometheus(network, tmp_path):
    with Compose(DEPLOY / "compose/single.yaml", network, tmp_path, programs(), CHANGES, profiles=["check"]) as run:
        tactus, prometheus = run["tactus"], run["prometheus"]
        trace_id = eventually(lambda: push(tactus.url(4318), "shop"), "spans are taken", 60, interval=0.2)
        assert_found(tactus.url(3200), trace_id, "shop")

        def told():
            answer = requests.get(prometheus.url(9090) + "/api/v1/rules", timeout=5).json()
            assert sum(len(group["rules"]) for group in answer["data"]["groups"]) > 30
            targets = requests.get(prometheus.url(9090) + "/api/v1/targets", timeout=5).json()["data"]["activeTargets"]
            return [target["health"] for target in targets] == ["up"]

        eventually(told, "Prometheus has the rules and scrapes Tactus", 60, interval=0.2)
        checker = run["checker"]

        def checked():
            page = requests.get(checker.url(3280) + "/metrics", timeout=5).text
            right = re.findall(r'^tactus_check_results_total{.*result="correct"} (\d+)$', page, re.MULTILINE)
            return sum(map(int, right)) >= 4

        eventually(checked, "the checker finds what it wrote", 90, interval=0.5)
        # The generator's remote write leads to Prometheus.
        eventually(lambda: series(prometheus, 'traces_spanmetrics_calls_total{service="shop"}'), "series of the generator", 60, interval=0.5)


def series(prometheus, selector):
    answer = requests.get(prometheus.url(9090) + "/api/v1/query", params={"query": selector}, timeout=5)
    return answer.json()["data"]["result"]


def test_services_with_an_s3_server_and_prometheus(network, tmp_path):
    def make_bucket(s3):
        # What the entry point of the S3 server does.
        eventually(lambda: requests.put(s3.url(9000) + "/tactus", timeout=5).status_code == 200, "the bucket is made", 60)

    with Compose(DEPLOY / "compose/distributed.yaml", network, tmp_path, programs(), CHANGES, {"s3": make_bucket}) as run:
        services = {name: service for name, service in run.services.items() if is_tactus(service.service)}
        assert len(services) == 8
        for service in services.values():
            eventually(lambda s=service: requests.get(s.url(3200) + "/ready", timeout=5).status_code == 200, f"{service.name} is ready", 90)
        trace_id = eventually(lambda: push(run["distributor"].url(4318), "shop"), "spans are taken", 60, interval=0.2)
        assert_found(run["query-frontend"].url(3200), trace_id, "shop")
        # To the bucket, and found there as well.
        for name in ("ingester-1", "ingester-2", "ingester-3"):
            requests.get(run[name].url(3200) + "/flush", timeout=30).raise_for_status()
        assert "meta.json" in requests.get(run["s3"].url(9000) + "/tactus", timeout=5).text
        assert_found(run["query-frontend"].url(3200), trace_id, "shop")

        def jobs():
            answer = requests.get(run["prometheus"].url(9090) + "/api/v1/label/job/values", timeout=5).json()
            return {f"tactus/{re.sub('-[0-9]$', '', name)}" for name in services} <= set(answer["data"])

        eventually(jobs, "Prometheus names the services as charts do", 60, interval=0.5)


def test_collector_in_front(network, tmp_path):
    collector = need("the OpenTelemetry collector", CACHE / "bin" / "collector")
    images = {"otel/opentelemetry-collector-contrib": [collector]}
    with Compose(DEPLOY / "compose/collector.yaml", network, tmp_path, images) as run:
        trace_id = eventually(lambda: push(run["collector"].url(4318), "shop"), "spans are taken", 60, interval=0.2)
        assert_found(run["tactus"].url(3200), trace_id, "shop")


def test_all_of_jaegers_ports_are_reached_from_outside(network, tmp_path):
    with Compose(DEPLOY / "compose/jaeger.yaml", network, tmp_path, {}) as run:
        jaeger = run["jaeger"]
        trace_id = eventually(lambda: push(jaeger.url(4318), "shop"), "spans are taken", 60, interval=0.2)
        assert_found(jaeger.url(3200), trace_id, "shop")
        found = requests.get(f"{jaeger.url(16686)}/api/traces/{trace_id}", timeout=5).json()
        assert found["data"][0]["traceID"].rjust(32, "0") == trace_id
        assert requests.get(jaeger.url(9411) + "/api/v2/services", timeout=5).json() == ["shop"]
        # Each port that is published is one that listens on every interface.
        listening = sockets(jaeger)
        for port in jaeger.service["ports"]:
            number, _, kind = port.split(":")[2].partition("/")
            assert (kind or "tcp", int(number)) in listening, port
        assert (tmp_path / "jaeger/var/lib/tactus/wal").is_dir(), "data is in the volume"


def sockets(service):
    """(kind, port) of everything that listens on every interface of a service's machine."""
    out = set()
    for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        text = subprocess.run([*service.host.prefix, "cat", f"/proc/net/{kind}"], capture_output=True, text=True, check=True, timeout=10).stdout
        for line in text.splitlines()[1:]:
            _, local, _, at = line.split()[:4]
            address, port = local.split(":")
            if at == state and not address.strip("0"):
                out.add((kind[:3], int(port, 16)))
    return out


# --- the image -------------------------------------------------------------------------------------------------------


def test_image_copies_what_is_there_and_starts_the_server():
    text = (REPOSITORY / "Dockerfile").read_text()
    env, entry, ports = image()
    assert entry == ["/usr/bin/tactus"] and env.keys() == {"TACTUS_LISTEN_ADDRESS", "TACTUS_DATA_DIRECTORY"}
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source
            assert "!" + source.split("/")[0] in ignored, f"{source} is not sent to the builder"
    for stage in re.findall(r"COPY --from=(\w+)", text):
        assert re.search(rf"^FROM .* AS {stage}$", text, re.MULTILINE)
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"ARG RUST_VERSION={version}\n" in text
    # Members of the workspace and what they include lie in what is copied.
    assert {"libs", "services", "fuzz", "proto"} <= {line[1:] for line in ignored if line.startswith("!")}
    assert {"3200", "4317", "6831/udp", "16686"} <= ports


# --- systemd and Debian ----------------------------------------------------------------------------------------------


def unit(tmp_path):
    """The unit with the server that is tested in the place of the installed one."""
    text = (SYSTEMD / "tactus.service").read_text()
    path = tmp_path / "tactus.service"
    path.write_text(text.replace("/usr/bin/tactus", tactus_binary()))
    return path


def test_unit_is_verified_by_systemd(tmp_path):
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", unit(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "tactus.service" not in done.stderr, done.stderr


def test_unit_leaves_the_service_little_to_do_harm_with(tmp_path):
    done = subprocess.run(
        [need("systemd-analyze"), "security", "--offline=true", "--threshold=15", "--json=short", unit(tmp_path)],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert len(json.loads(done.stdout)) > 50


def test_configuration_of_the_service_runs(servers, tmp_path):
    shown = (SYSTEMD / "tactus.yaml").read_text()
    (tmp_path / "tactus.yaml").write_text(shown)
    done = subprocess.run(
        [tactus_binary(), f"-config.file={tmp_path}/tactus.yaml", "-config.expand-env", "-config.verify"], capture_output=True, text=True,
        timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Everything that the unit lets it write is below its state directory.
    assert set(re.findall(r"path: (\S+?)/\w+\}", shown)) == {"/var/lib/tactus"}
    assert "StateDirectory=tactus\n" in (SYSTEMD / "tactus.service").read_text()


def package():
    return tomllib.loads((REPOSITORY / "services/tactus/Cargo.toml").read_text())["package"]["metadata"]["deb"]


def test_debian_package_names_files_that_are_there():
    deb, folder = package(), REPOSITORY / "services/tactus"
    targets = set()
    for source, target, mode in deb["assets"]:
        targets.add("/" + target)
        if source.startswith("target/release/"):
            program = source.removeprefix("target/release/")
            assert (REPOSITORY / "services" / program / "Cargo.toml").is_file() and mode == "755", source
        else:
            assert list(folder.glob(source)), source
    assert set(deb["conf-files"]) <= targets
    assert (folder / deb["license-file"][0]).is_file()
    # Without these cargo-deb writes no scripts: an update would leave the old program running, and a removal as well.
    for script in ("postinst", "prerm", "postrm"):
        assert "\n#DEBHELPER#\n" in (folder / deb["maintainer-scripts"] / script).read_text(), script
    units = deb["systemd-units"]
    text = (folder / units["unit-scripts"] / f"{units['unit-name']}.service").read_text()
    # What the unit reads is what the package brings.
    assert re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)[1] == "/usr/bin/tactus"
    assert "-config.file=/etc/tactus/tactus.yaml" in text and "EnvironmentFile=-/etc/default/tactus" in text


# --- Jaeger's variables ----------------------------------------------------------------------------------------------


def rows():
    """First cells of the table of variables in the page on migrating."""
    page = (REPOSITORY / "docs/migrating-from-jaeger.md").read_text()
    table = page[page.index("| variable | does |"):]
    return re.findall(r"^\| (`.*?) \|", table[:table.index("\n\n")], re.MULTILINE)


class Container:
    """The image's program with variables, on a machine of its own."""

    def __init__(self, network, directory, variables):
        self.service = {"image": "tactus", "environment": variables}
        self.run = Service("tactus", self.service, directory, network.host(), directory / "root", [tactus_binary()])

    def __enter__(self):
        self.run.start({"tactus": self.run.host})
        return self

    def __exit__(self, *_):
        self.run.close()

    def ready(self):
        self.run.until(lambda: requests.get(self.run.url(3200) + "/ready", timeout=5).status_code == 200, "it is ready")
        return self

    def status(self, port, path="/"):
        """The status of an answer; None if nobody listens."""
        try:
            return requests.get(self.run.url(port) + path, timeout=5).status_code
        except requests.ConnectionError:
            return None


def opens_zipkin_elsewhere(container):
    assert container.ready().status(9511, "/api/v2/services") == 200 and container.status(9411) is None


def closes_otlp(container):
    assert container.ready().status(4318, "/v1/traces") is None and container.status(9411, "/api/v2/services") == 200


def stores_as_ever(container):
    trace_id = push(container.ready().run.url(4318), "shop")
    assert_found(container.run.url(3200), trace_id, "shop")


def ends_with_a_message(container):
    assert container.run.process.wait(30) == 1
    assert "SPAN_STORAGE_TYPE=elasticsearch" in container.run.logs()


def answers_with_strategies(container):
    answer = requests.get(container.ready().run.url(5778) + "/sampling", params={"service": "shop"}, timeout=5).json()
    assert answer["probabilisticSampling"]["samplingRate"] == 0.25


def samples_adaptively(container):
    config = requests.get(container.ready().run.url(3200) + "/status/config", timeout=5).text
    assert yaml.safe_load(config[config.index("\n"):] if config.startswith("--") else config)["sampling"]["adaptive"] is not None


def answers_below_a_path(container):
    assert container.ready().status(16686, "/jaeger/api/services") == 200 and container.status(16686, "/api/services") == 404


STRATEGIES = {"default_strategy": {"type": "probabilistic", "param": 0.25}}
# A row of the table: the variables, and what shows that they were taken.
ROWS = {
    "`COLLECTOR_ZIPKIN_HOST_PORT=:9411`": ({"COLLECTOR_ZIPKIN_HOST_PORT": ":9511"}, opens_zipkin_elsewhere),
    "`COLLECTOR_OTLP_ENABLED=false`": ({"COLLECTOR_OTLP_ENABLED": "false"}, closes_otlp),
    "`SPAN_STORAGE_TYPE=memory`, `badger`, `grpc`": ({"SPAN_STORAGE_TYPE": "badger"}, stores_as_ever),
    "`SPAN_STORAGE_TYPE=elasticsearch`, `cassandra`, …": ({"SPAN_STORAGE_TYPE": "elasticsearch"}, ends_with_a_message),
    "`SAMPLING_STRATEGIES_FILE=/etc/strategies.json`": ({"SAMPLING_STRATEGIES_FILE": "strategies.json"}, answers_with_strategies),
    "`SAMPLING_CONFIG_TYPE=adaptive`": ({"SAMPLING_CONFIG_TYPE": "adaptive"}, samples_adaptively),
    "`QUERY_BASE_PATH=/jaeger`": ({"QUERY_BASE_PATH": "/jaeger"}, answers_below_a_path),
}


def test_every_variable_of_the_page_is_tried():
    assert rows() == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_variable_of_jaeger_does_what_the_page_says(row, network, tmp_path):
    variables, check = ROWS[row]
    (tmp_path / "strategies.json").write_text(json.dumps(STRATEGIES))
    variables = {name: value.replace("strategies.json", str(tmp_path / "strategies.json")) for name, value in variables.items()}
    with Container(network, tmp_path, variables) as container:
        check(container)
