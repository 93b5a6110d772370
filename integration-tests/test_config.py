"""Configuration: flags, exit codes, errors that name line, key and type, and what /status/config shows."""
import re
import subprocess

import pytest
import yaml

from harness import otlp
from harness.paths import REPOSITORY, tactus_binary
from harness.ports import free_ports
from harness.server import merge
from harness.waiting import eventually


def run(*arguments, env=None, cwd=None):
    return subprocess.run(
        [tactus_binary(), *arguments], capture_output=True, text=True, timeout=60, env=env, cwd=cwd,
        stdin=subprocess.DEVNULL)


def verify(tmp_path, text, *arguments, **kwargs):
    file = tmp_path / "tactus.yaml"
    file.write_text(text)
    return run(f"-config.file={file}", "-config.verify", *arguments, cwd=tmp_path, **kwargs)


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version_is_printed_and_exits_zero(flag):
    done = run(flag)
    assert done.returncode == 0
    first, *others = (done.stdout + done.stderr).splitlines()
    assert re.fullmatch(r"tactus, version \S+ \(branch: \S*, revision: \S*\)", first), first
    names = [line.split(":")[0].strip() for line in others if line.startswith("  ")]
    assert {"build user", "build date", "platform"} <= set(names) and len(names) == len(others), others


@pytest.mark.parametrize("flag", ["-help", "--help", "-h"])
def test_help_lists_flags_and_exits_zero(flag):
    done = run(flag)
    assert done.returncode == 0
    for known in ("-config.file", "-target", "-storage.trace.backend", "-server.http-listen-port"):
        assert known in done.stdout + done.stderr


def test_unknown_flag_exits_two_with_usage():
    done = run("-no.such.flag=1")
    assert done.returncode == 2
    assert done.stderr.startswith("flag provided but not defined: -no.such.flag")
    assert "-config.file" in done.stderr


def test_bad_flag_value_exits_two_with_its_name():
    done = run("-server.http-listen-port=eighty")
    assert done.returncode == 2
    assert 'invalid value "eighty" for flag -server.http-listen-port' in done.stderr


def test_missing_file_exits_one_with_its_path(tmp_path):
    done = run(f"-config.file={tmp_path}/none.yaml")
    assert done.returncode == 1
    assert f"failed to read configFile {tmp_path}/none.yaml" in done.stderr


@pytest.mark.parametrize(("text", "parts"), [
    ("server:\n  http_listen_port: 3200\nnonsense: 1\n", ["line 3", "field nonsense not found"]),
    ("ingester:\n  foo: 1\n", ["line 2", "field foo not found", "ingester"]),
    ("server:\n  http_listen_port: abc\n", ["line 2", "abc", "int"]),
    ("ingester:\n  trace_idle_period: 5 fortnights\n", ["line 2", "5 fortnights", "duration"]),
    ("ingester:\n  max_block_bytes: 10MB\n", ["line 2", "10MB"]),
    ("stream_over_http_enabled: perhaps\n", ["line 1", "perhaps", "bool"]),
    ("server:\n  http_listen_port: 1\nserver:\n  http_listen_port: 2\n", ["line 3", "server", "already"]),
    ("server: [\n", ["line"]),
])
def test_bad_file_exits_one_with_line_and_key(tmp_path, text, parts):
    done = verify(tmp_path, text)
    assert done.returncode == 1
    assert "failed parsing config: failed to parse configFile" in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_all_problems_of_a_file_are_listed(tmp_path):
    done = verify(tmp_path, "one: 1\ntwo: 2\nserver: {three: 3}\n")
    for key, line in (("one", 1), ("two", 2), ("three", 3)):
        assert f"line {line}: field {key} not found" in done.stderr, done.stderr


HINTS = {
    "letters swapped": ("server: {http_listen_prot: 3200}", "field http_listen_prot not found in type server: did you mean http_listen_port?"),
    "section": ("storge: {trace: {backend: local}}", "field storge not found in type config: did you mean storage?"),
    "receiver": ("distributor: {receivers: {oltp: {protocols: {grpc: }}}}", "did you mean otlp?"),
    "level left out": (
        "distributor: {receivers: {otlp: {grpc: {endpoint: 'localhost:4317'}}}}", "type distributor.receivers.otlp: its only key is protocols"),
    "key of another section": ("compaction: {block_retention: 48h}", "field compaction not found in type config: did you mean compactor?"),
    "size with a unit": ("compactor: {compaction: {max_block_bytes: 10GB}}", "write a plain number of bytes, without a unit"),
    "backend": ("storage: {trace: {backend: S3}}", "unknown backend S3: expecting local, s3, gcs or azure"),
    "block version": (
        "storage: {trace: {block: {version: vParquet3}}}",
        "vParquet3 is not a valid block version for creating blocks: expecting vParquet4 or vParquet5"),
    "log level": ("server: {log_level: trace}", 'unrecognized log level "trace": expecting debug, info, warn or error'),
    "target": ("target: query", "unrecognised module name: query: expecting all, distributor, ingester, querier, query-frontend,"),
    "endpoint": (
        "distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: '4317'}}}}}",
        'distributor.receivers.otlp.protocols.grpc.endpoint: "4317" is not an address: write host:port, such as 0.0.0.0:4317'),
    "processor": (
        "metrics_generator: {storage: {path: ./g}}\noverrides: {defaults: {metrics_generator: {processors: [span_metrics]}}}",
        'overrides.defaults.metrics_generator.processors: "span_metrics" is not a processor and is ignored: expecting service-graphs, span-metrics,'),
    "variable": ("server: {http_listen_port: '${PORT}'}", "${PORT} stays as it is written (line 1): -config.expand-env expands variables"),
    "variable in braces": ("storage: {trace: {s3: {access_key: ${S3_KEY}}}}", "${S3_KEY} stays as it is written (line 1)"),
}


@pytest.mark.parametrize("case", HINTS)
def test_a_mistake_is_refused_with_what_was_probably_meant(tmp_path, case):
    text, hint = HINTS[case]
    done = verify(tmp_path, text)
    assert done.returncode == 1 and hint in done.stderr, done.stderr


ADVICE = {
    "members without a ring in gossip": (
        "memberlist: {join_members: ['tactus-1:7946']}", (), "ingester.lifecycler.ring.kvstore.store is memberlist"),
    "copies without members": (
        "ingester: {lifecycler: {ring: {replication_factor: 3, kvstore: {store: memberlist}}}}", (),
        "replication_factor wants copies, but memberlist.join_members names nobody"),
    "heartbeat timeout of a member": ("ingester: {lifecycler: {heartbeat_timeout: 2m}}", (), "lifecycler.heartbeat_timeout is set but has no effect"),
    "address to advertise that is every one": (
        "ingester: {lifecycler: {address: '::', ring: {kvstore: {store: memberlist}}}}", (),
        "ingester.lifecycler.address: :: is no address that others can reach, and counts as not set"),
    "IPv6 of one ring": ("distributor: {ring: {enable_inet6: true}}", (), "distributor.ring.enable_inet6 is set but has no effect"),
    "window of a client": (
        "ingester_client: {grpc_client_config: {initial_stream_window_size: 1MiB}}", (), "initial_stream_window_size is set but has no effect"),
    "processors without a directory": (
        "overrides: {defaults: {metrics_generator: {processors: [span-metrics]}}}", (), "no metrics_generator.storage.path"),
    "directory without processors": ("metrics_generator: {storage: {path: ./g}}", (), "but no tenant has processors"),
    "more series than fit": (
        "metrics_generator: {storage: {path: ./g}}\n"
        "overrides: {defaults: {metrics_generator: {processors: [span-metrics], max_active_series: 1000000}}}", (),
        "max_active_series is 1000000, but metrics_generator.registry.max_bytes has room for"),
    "processor without effect": (
        "overrides: {defaults: {metrics_generator: {processors: [local-blocks]}}}", (),
        "overrides.defaults.metrics_generator.processors: local-blocks does nothing"),
    "duration below zero": ("ingester: {trace_idle_period: -5s}", (), "ingester.trace_idle_period: a duration below zero counts as 0 (line 1)"),
    "variable that stays": ("server: {http_listen_address: '${HOST_OF_NOBODY}'}", (), "-config.expand-env expands variables"),
    "variable that is not set": (
        "server: {http_listen_address: '${HOST_OF_NOBODY}'}", ("-config.expand-env",), "the environment has no HOST_OF_NOBODY"),
    "argument that is no flag": ("", ("false", "-target=querier"), 'argument "false" is not a flag: it and the arguments after it are ignored'),
}


@pytest.mark.parametrize("case", ADVICE)
def test_what_has_no_effect_is_told_and_passes(tmp_path, case):
    text, arguments, advice = ADVICE[case]
    done = verify(tmp_path, text, *arguments)
    assert (done.returncode, done.stdout.strip()) == (0, "config ok"), done.stderr
    assert advice in done.stderr, done.stderr


def test_a_flag_that_nearly_exists_is_named():
    done = run("-config.verfy")
    assert done.returncode == 2
    assert done.stderr.startswith("flag provided but not defined: -config.verfy (did you mean -config.verify?)"), done.stderr[:200]


def test_unknown_storage_backend_is_refused_by_name(tmp_path):
    done = verify(tmp_path, "storage: {trace: {backend: floppy, wal: {path: ./wal}}}\n")
    assert done.returncode == 1
    assert "unknown backend floppy" in done.stderr


@pytest.mark.parametrize("text", ["", "multitenancy_enabled: yes\n", "compactor:\nstorage:\n"])
def test_verify_of_a_file_that_names_no_store_exits_zero(tmp_path, text):
    done = verify(tmp_path, text)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "config ok")
    (http, grpc, zipkin) = free_ports(3)
    # Without the ports that receivers have by default, which may be taken here.
    file = tmp_path / "free-ports.yaml"
    file.write_text(text + f"distributor: {{receivers: {{zipkin: {{endpoint: 127.0.0.1:{zipkin}}}}}}}\n")
    started = run(
        f"-config.file={file}", f"-server.http-listen-port={http}", f"-server.grpc-listen-port={grpc}", cwd=tmp_path)
    assert started.returncode == 1 and "storage.trace.backend" in started.stderr


@pytest.mark.parametrize("target", ["scalable-single-binary", "querier"])
def test_querier_has_to_know_how_to_find_frontends(tmp_path, target):
    done = verify(tmp_path, f"target: {target}\n")
    assert done.returncode == 1 and "frontend worker address not specified" in done.stderr


@pytest.mark.parametrize("flag", ["-config.verify", "--config.verify=true", "-verify-config"])
def test_verify_of_a_good_file_exits_zero(tmp_path, flag):
    file = tmp_path / "tactus.yaml"
    file.write_text("storage: {trace: {backend: local, local: {path: ./b}, wal: {path: ./w}}}\n")
    done = run(f"--config.file={file}", flag, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "w").exists(), "a check must not create anything"


def test_verify_of_a_suspect_value_exits_one(tmp_path):
    done = verify(
        tmp_path, "ingester: {complete_block_timeout: 1m}\n"
        "storage: {trace: {backend: local, local: {path: ./b}, wal: {path: ./w}, blocklist_poll: 5m}}\n")
    assert done.returncode == 1
    assert "complete_block_timeout" in done.stdout + done.stderr


def test_verify_tells_what_a_start_warns_of_in_the_file_of_limits(tmp_path):
    text = (
        "storage: {trace: {backend: local, local: {path: ./b}, wal: {path: ./w}}}\n"
        "overrides: {per_tenant_override_config: limits.yaml}\n")
    limits = tmp_path / "limits.yaml"
    limits.write_text("overrides: {a: {ingestion: {max_traces_per_user: ${MOST_OF_NOBODY}}}}\n")
    done = verify(tmp_path, text, "-config.expand-env")
    assert done.returncode == 0, done.stderr
    assert "the environment has no MOST_OF_NOBODY" in done.stderr
    assert "overrides of tenant a leave out ingestion.rate_limit_bytes" in done.stderr
    limits.write_text("overrides: {team/a: {}, b: {metrics_generator: {processors: [span-metric]}, forwarders: [nowhere]}}\n")
    done = verify(tmp_path, text)
    assert done.returncode == 1 and "config ok" not in done.stdout
    for told in (
        "overrides of tenant team/a are ignored", 'overrides of tenant b: metrics_generator.processors: "span-metric" is not a processor',
        'overrides of tenant b: forwarders: forwarder "nowhere" is not a known forwarder',
    ):
        assert told in done.stderr, done.stderr


def test_a_group_of_a_regular_expression_that_is_taken_for_a_variable_is_told(tmp_path):
    rules = "[{source_labels: [service], regex: '(.*)-canary', target_label: team, replacement: 'team-%s'}]"
    text = (
        "storage: {trace: {backend: local, local: {path: ./b}, wal: {path: ./w}}}\n"
        "metrics_generator: {storage: {path: ./g, remote_write: [{url: 'http://127.0.0.1:1/w', write_relabel_configs: %s}]}}\n")
    told = "write $${1} for the group of a regular expression"
    for replacement, arguments, is_told in (
        ("${1}", ["-config.expand-env"], True), ("$${1}", ["-config.expand-env"], False), ("$1", ["-config.expand-env"], False), ("${1}", [], False),
    ):
        done = verify(tmp_path, text % (rules % replacement), *arguments)
        assert done.returncode == 0, done.stderr
        assert (told in done.stderr) is is_told, (replacement, arguments, done.stderr)


def test_variables_are_expanded_only_on_request(tmp_path, servers):
    (port,) = free_ports(1)
    config = {"server": {"http_listen_port": "${HTTP_PORT}", "log_level": "${LEVEL:-debug}"}}
    done = verify(tmp_path, yaml.safe_dump(config))
    assert done.returncode == 1 and "HTTP_PORT" in done.stderr
    server = servers.new(config=config, env={"HTTP_PORT": str(port)}, arguments=["-config.expand-env"])
    server.http_port = port
    server.start()
    shown = yaml.safe_load(server.get("/status/config").text)
    assert (shown["server"]["http_listen_port"], shown["server"]["log_level"]) == (port, "debug")


def test_flags_are_stronger_than_the_file(servers):
    server = servers.start(arguments=["-ingester.trace-idle-period=7s", "--log.level", "warn"])
    shown = yaml.safe_load(server.get("/status/config").text)
    assert shown["ingester"]["trace_idle_period"] == "7s"
    assert shown["server"]["log_level"] == "warn"


def test_status_config_shows_values_defaults_and_differences(tactus):
    page = tactus.get("/status/config")
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/plain")
    assert page.text.startswith("---\n")
    shown = yaml.safe_load(page.text)
    assert shown["server"]["http_listen_port"] == tactus.http_port
    assert shown["ingester"]["max_block_duration"] == "30m0s"
    assert shown["storage"]["trace"]["local"]["path"] == str(tactus.blocks)
    defaults = yaml.safe_load(tactus.get("/status/config", mode="defaults").text)
    assert defaults["server"]["http_listen_port"] == 3200
    diff = yaml.safe_load(tactus.get("/status/config", mode="diff").text)
    assert diff["server"]["http_listen_port"] == tactus.http_port
    assert "max_block_duration" not in diff.get("ingester", {})
    assert tactus.get("/status/config", mode="nonsense").status_code == 500


def test_secrets_are_masked(tmp_path, servers):
    secret = "hunter2-hunter2"
    server = servers.start(config={"storage": {"trace": {"s3": {"secret_key": secret, "access_key": "visible"}}}})
    assert secret not in server.get("/status/config").text
    assert secret not in server.get("/status").text
    assert secret not in server.logs()


def test_key_of_a_missing_part_warns_once_by_name(servers):
    server = servers.start(config={"metrics_generator": {
        "storage": {"path": "./generator"}, "processor": {"local_blocks": {"flush_to_storage": True, "concurrency": 2}}},
        "overrides": {"defaults": {"metrics_generator": {"processors": ["span-metrics"]}}}})
    lines = [line for line in server.logs().splitlines() if "level=warn" in line and "metrics_generator" in line]
    assert len(lines) == 1 and "local_blocks" in lines[0], server.logs()


def test_occupied_port_stops_the_start_with_the_address(tactus, servers):
    second = servers.new(config={"server": {"http_listen_port": tactus.http_port}})
    second.spawn()
    assert second.process.wait(60) == 1
    assert str(tactus.http_port) in second.logs()


TUTORIAL = """
server: {http_listen_port: 3200}
distributor:
  receivers:
    jaeger: {protocols: {thrift_http: , grpc: }}
    otlp: {protocols: {http: , grpc: }}
storage:
  trace:
    backend: s3
    s3: {bucket: tempo-traces, endpoint: s3.amazonaws.com, region: us-east-1}
    wal: {path: ./wal}
    pool: {max_workers: 100, queue_depth: 10000}
querier: {frontend_worker: {frontend_address: "tempo-query-frontend:9095"}}
metrics_generator:
  registry: {external_labels: {cluster: production}}
  storage: {path: ./generator, remote_write: [{url: "http://prometheus:9090/api/v1/write", send_exemplars: true}]}
overrides: {defaults: {metrics_generator: {processors: [service-graphs, span-metrics]}}}
"""


def test_files_of_tutorials_are_valid_and_misplaced_keys_are_shown_their_place(tmp_path):
    done = verify(tmp_path, TUTORIAL)
    assert (done.returncode, done.stdout.strip()) == (0, "config ok"), done.stderr
    misplaced = (
        "overrides:\n  defaults:\n    metrics_generator:\n      storage: {path: ./x}\n"
        "      remote_write: [{url: 'http://prometheus:9090/api/v1/write'}]\n"
        "    ingestion_rate_limit_bytes: 5000000\n    ingestion_burst_size_bytes: 10000000\n")
    done = verify(tmp_path, misplaced)
    assert done.returncode == 1
    for place in (
        "metrics_generator.storage?", "metrics_generator.storage.remote_write?", "overrides.defaults.ingestion.rate_limit_bytes?",
        "overrides.defaults.ingestion.burst_size_bytes?",
    ):
        assert f"did you mean {place}" in done.stderr, done.stderr
    flat = verify(tmp_path, "overrides:\n  ingestion_rate_limit_bytes: 5000000\n  ingestion_burst_size_bytes: 10000000\n")
    assert "rate_limit_bytes" not in flat.stderr


def test_defaults_of_no_use_to_the_generator_are_warned_of_and_do_not_keep_spans_out(tmp_path, servers):
    defaults = {"processors": ["span-metrics"], "processor": {"span_metrics": {"filter_policies": [{}]}}}
    text = {"overrides": {"defaults": {"metrics_generator": defaults}}, "metrics_generator": {"storage": {"path": str(tmp_path / "generator")}}}
    verified = verify(tmp_path, yaml.safe_dump({**text, "storage": {"trace": {"backend": "local", "local": {"path": "blocks"}}}}))
    warning = "overrides.defaults.metrics_generator: invalid filter policy"
    assert verified.returncode == 1 and warning in verified.stderr, verified.stderr
    server = servers.start(config=text)
    assert warning in server.logs()
    trace_id = otlp.push_trace(server)
    assert server.trace(trace_id)
    eventually(lambda: "cannot start the metrics generator of tenant" in server.logs(), "the log says why there are no series")


def test_variables_of_jaeger_count_where_the_file_is_silent(tmp_path):
    refused = verify(tmp_path, "", env={"SPAN_STORAGE_TYPE": "elasticsearch", "ES_SERVER_URLS": "http://elasticsearch:9200"})
    assert refused.returncode == 1
    assert "SPAN_STORAGE_TYPE=elasticsearch" in refused.stderr and "storage.trace.backend" in refused.stderr
    stored = "storage: {trace: {backend: local, local: {path: blocks}}}"
    for env in ({"COLLECTOR_ZIPKIN_HOST_PORT": ":9411"}, {"COLLECTOR_OTLP_ENABLED": "true"}, {"SPAN_STORAGE_TYPE": "memory"}):
        done = verify(tmp_path, stored, env=env)
        assert done.returncode == 0, done.stderr


# What only the service itself can judge, each with a part of the text.
REFUSED = {
    "cache without servers": ("cache: {caches: [{roles: [bloom], memcached: {}}]}", "no addresses are set"),
    "role claimed twice": (
        "cache: {caches: [{roles: [bloom], redis: {endpoint: 'a:1'}}, {roles: [bloom], redis: {endpoint: 'b:1'}}]}", "claimed"),
    "authentication without users": ("auth: {enabled: true}", "auth.users_file"),
    "certificate that is not there": (
        "server: {http_tls_config: {cert_file: /none/cert.pem, key_file: /none/key.pem}}", "/none/cert.pem"),
    "certificate of a receiver": (
        "distributor: {receivers: {otlp: {protocols: {grpc: {tls: {cert_file: /none/c.pem, key_file: /none/k.pem}}}}}}", "/none/c.pem"),
    "certificate of a query port": (
        "query_frontend: {jaeger: {http: {endpoint: 'localhost:0', tls: {cert_file: /none/c.pem, key_file: /none/k.pem}}}}", "/none/c.pem"),
    "tenant of a receiver": (
        "distributor: {receivers: {jaeger: {protocols: {thrift_compact: {endpoint: 'localhost:0', tenant: 'a/b'}}}}}", "tenant"),
    "file receiver without files": ("distributor: {receivers: {otlpjsonfile: {}}}", "include"),
    "drop rule in another language": ("distributor: {drop_rules: [{match: 'SELECT 1', drop: true}]}", "drop_rules"),
    "strategies that are not there": ("sampling: {file: {path: /none/strategies.json}}", "/none/strategies.json"),
    "gossip address": (
        "memberlist: {bind_addr: [nowhere], advertise_addr: 127.0.0.1}\n"
        "ingester: {lifecycler: {ring: {kvstore: {store: memberlist}}}}", "memberlist.bind_addr"),
    "store of a ring": ("compactor: {ring: {kvstore: {store: etcd}}}", "compactor.ring.kvstore.store"),
    "overrides that are not there": ("overrides: {per_tenant_override_config: /none/overrides.yaml}", "/none/overrides.yaml"),
    "retention policy": (
        "overrides: {defaults: {compaction: {retention_policies: [{query: '{ x', retention: 1h}]}}}", "retention_policies"),
    "version that is only read": ("storage: {trace: {block: {version: vParquet3}}}", "vParquet3"),
    "bucket without a name": ("storage: {trace: {backend: s3, s3: {endpoint: 'localhost:1'}}}", "storage.trace.s3.bucket is not set"),
    "store that does not exist": ("storage: {trace: {backend: s4}}", "(storage.trace.backend)"),
    "rate strategy": (
        "overrides: {defaults: {ingestion: {rate_strategy: Global}}}", 'ingestion.rate_strategy "Global" is not known: expecting local or global'),
    "port of two settings": (
        "internal_server: {enable: true, http_listen_address: 127.0.0.1, http_listen_port: 3207}\n"
        "query_frontend: {jaeger: {http: {endpoint: '127.0.0.1:3207'}}}",
        "internal_server.http_listen_port and query_frontend.jaeger.http.endpoint are the same port"),
    "target": ("target: block-builder", "block-builder"),
    "address without a port": (
        "query_frontend: {jaeger: {http: {endpoint: localhost}}}", 'query_frontend.jaeger.http.endpoint: "localhost" is not an address'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_start_refuses_is_refused_by_verify_with_the_same_text(tmp_path, case):
    text, part = REFUSED[case]
    http, grpc = free_ports(2)
    base = yaml.safe_load(f"""
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc}}}
storage: {{trace: {{backend: local, local: {{path: ./blocks}}, wal: {{path: ./wal}}}}}}
distributor: {{receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}}}
""")
    text = yaml.safe_dump(merge(base, yaml.safe_load(text)))
    verified = verify(tmp_path, text)
    assert verified.returncode == 1, verified.stdout + verified.stderr
    assert not any((tmp_path / made).exists() for made in ("blocks", "wal")), "verify opens nothing"
    started = run(f"-config.file={tmp_path / 'tactus.yaml'}", cwd=tmp_path)
    assert started.returncode == 1
    last = verified.stderr.splitlines()[-1]
    assert part in last, verified.stderr
    assert last in started.stderr, (last, started.stderr)


# Sections of other architectures and of parts that are refused or reported as a whole.
WHOLE = (
    "live_store", "backend_", "block_builder", "ingest.", "ingester.partition_ring", "usage_report", "distributor.receivers.kafka", "distributor.receivers.opencensus",
    "distributor.kafka_config", "metrics_generator.processor.local_blocks", "metrics_generator.traces_",
    "overrides.defaults.metrics_generator.processor.local_blocks", "memory.")


def test_every_key_of_the_manual_is_read_or_marked_as_without_effect():
    """A key that nothing reads and that is not marked would be accepted in silence: its user believes that it works."""
    declarations = REPOSITORY / "libs" / "config" / "src" / "sections"
    code = [
        file.read_text() for folder in ("libs", "services") for file in (REPOSITORY / folder).glob("*/src/**/*.rs")
        if not file.is_relative_to(REPOSITORY / "libs" / "config") and "tests" not in file.parts and file.name != "tests.rs"]
    # What a section makes of its own keys, such as an address of two of them.
    code += [text for file in declarations.glob("*.rs") for text in re.findall(r"^impl .*?^}$", file.read_text(), re.M | re.S)]
    code += [(REPOSITORY / "libs" / "config" / "src" / name).read_text() for name in ("load.rs", "validate/caches.rs", "validate/forwarders.rs", "per_tenant.rs")]
    words = {word for text in code for word in re.findall(r"\w+", text)} | {"type"}
    rows = re.findall(r"^\| `([^`]+)` \| .*? \| .*? \| (.*) \|$", (REPOSITORY / "docs" / "configuration.md").read_text(), re.M)
    assert len(rows) > 1000
    unread = [
        key for key, meaning in rows
        if not meaning.startswith(("no effect here", "older name of")) and "whatever this says" not in meaning
        # Of the stores of rings only those without settings can be chosen.
        and not key.startswith(WHOLE) and ".kvstore.etcd." not in key
        for names in [[name.removesuffix("[]") for name in key.split(".") if name != "<name>"]]
        if not set(names[1:]) <= words]
    assert not unread, unread
