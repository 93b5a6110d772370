"""`tactusctl check`: what is well is found to be well, and each way to lose or refuse spans is noticed under its name."""
import json
import shutil
import subprocess

import pytest
import requests

from harness.certificates import Certificates
from harness.checker import Checker, environment, tactusctl
from harness.cluster import Cluster
from harness.server import Tactus
from harness.waiting import eventually

QUERIES = ("by_id", "search", "traceql", "metrics")


@pytest.fixture
def server(tmp_path):
    server = Tactus(tmp_path / "server", config={"ingester": {"trace_idle_period": "300ms", "flush_check_period": "200ms"}})
    try:
        yield server.start()
    finally:
        server.close()


def once(*flags, code=0, **variables):
    done = subprocess.run(
        [tactusctl(), "--json", "check", *map(str, flags)], capture_output=True, text=True, timeout=120,
        env={**environment(), **variables})
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def checker_of(server, directory, *flags, **kwargs):
    return Checker(directory / "checker", server.otlp_url, server.url, *flags, **kwargs)


# --- one round -------------------------------------------------------------------------------------------------------


def test_one_round_finds_what_it_wrote_over_http_and_grpc(server):
    for push in (server.otlp_url, f"grpc://127.0.0.1:{server.otlp_grpc_port}"):
        said = once("--push-url", push, "--query-url", server.url, "--traces", 3)
        assert (said["traces"], said["wrong"], len(said["checks"])) == (3, 0, 12)
        assert {check["query"] for check in said["checks"]} == set(QUERIES).difference({"traceql"}) | {"trace_ql"}
        assert all(check["foundAfterSeconds"] > 0 and check["spans"] >= 5 for check in said["checks"])
        assert server.trace(said["checks"][0]["traceID"])


def test_one_round_without_a_tenant_checks_all_the_same(server):
    said = once("--push-url", server.otlp_url, "--query-url", server.url, "--traces", 1, TACTUS_ORG_ID="")
    assert (said["traces"], said["wrong"], len(said["checks"])) == (1, 0, 4)


def test_one_round_ends_with_3_if_something_is_missing(server, tmp_path):
    other = Tactus(tmp_path / "other")
    try:
        other.start()
        said = once("--push-url", server.otlp_url, "--query-url", other.url, "--traces", 1, "--within", "1s", code=3)
        assert said["wrong"] == 4 and {check["problem"] for check in said["checks"]} == {"not found"}
    finally:
        other.close()


def test_one_round_ends_with_1_if_nothing_is_taken(server):
    said = once("--push-url", "http://127.0.0.1:1", "--query-url", server.url, code=1)
    assert "push to http://127.0.0.1:1" in said


@pytest.mark.parametrize("flags", [
    ["--push-url", "ftp://x"], ["--push-url", "http://user:secret@x"], ["--query-url", "grpc://x"],
    ["--continuous", "--interval", "1ms"], ["--continuous", "--seed", "a b"], ["--continuous", "--traces", "3"],
    ["--continuous", "--retention", "5s"], ["--continuous", "--log-level", "loud"], ["--header", "x"],
    ["--bearer-token-file", "/x", "--basic-auth-file", "/x"],
], ids=" ".join)
def test_flags_that_make_no_sense_are_refused(flags):
    said = once(*flags, code=2)
    assert "secret" not in said


# --- all is well -----------------------------------------------------------------------------------------------------


def test_nothing_is_missed_in_ingesters_and_blocks_and_after_a_restart(server, tmp_path):
    # Of a trace that goes on after the block with its beginning was written, a process alone searches both parts apart.
    with checker_of(server, tmp_path, late="0s") as checker:
        checker.await_correct("1s", 16)
        server.flush()
        checker.await_correct("3s", 16)
        metrics = checker.metrics()
        for query in QUERIES:
            assert checker.sum("tactus_check_results_total", f'query="{query}"', 'result="correct"')
            assert checker.sum("tactus_check_query_duration_seconds_count", f'query="{query}"') > 0
        eventually(lambda: checker.sum("tactus_check_found_seconds_count", 'query="by_id"') >= 2, "the time until traces are found")
        assert metrics["tempo_vulture_trace_total"] > 30
        assert metrics['tempo_vulture_trace_error_total{error="notfound_byid"}'] == metrics["tempo_vulture_error_total"] == 0
        assert checker.errors() == {}
        # What was written before the end is looked at after it, also by a process that was killed.
        known = checker.sum("tactus_check_known_traces")
        oldest = checker.sum("tactus_check_oldest_known_timestamp_seconds")
        checker.kill()
        checker.start()
        eventually(lambda: checker.sum("tactus_check_known_traces") >= known - 5, "the earlier traces are known")
        assert checker.sum("tactus_check_oldest_known_timestamp_seconds") == oldest
        checker.await_correct("any", 8)
        assert checker.errors() == {}
        assert checker.stop() == 0
    assert "level=warn" not in checker.logs(), checker.logs()


def test_page_has_the_names_that_existing_alerts_ask_for(server, tmp_path):
    with checker_of(server, tmp_path) as checker:
        page = requests.get(f"http://{checker.address}/metrics", timeout=5)
        assert "# TYPE tempo_vulture_trace_total counter" in page.text
        assert "# TYPE tempo_vulture_trace_error_total counter" in page.text
        assert "# TYPE tempo_vulture_error_total counter" in page.text
        assert requests.get(f"http://{checker.address}/other", timeout=5).status_code == 404


# --- what is lost is noticed -----------------------------------------------------------------------------------------


def test_blocks_that_vanish_are_noticed_also_by_a_later_process(server, tmp_path):
    with checker_of(server, tmp_path, "--seed", "lost", ages="1s", late="0s") as checker:
        checker.await_correct("1s", 16)
        checker.await_correct("any", 4)
        server.flush()
        (block,) = eventually(server.block_directories, "a block")
        # Traces that come later name those in the block.
        checker.await_correct("1s", 8)
        assert checker.errors() == {}
        checker.kill()
        server.stop()
        shutil.rmtree(block)
        server.start()
        checker.start()

        def noticed():
            old = checker.sum("tactus_check_results_total", 'age="any"', 'result="notfound_byid"')
            return old > 0 and checker.errors().get("notfound_byid", 0) > 0

        eventually(noticed, "lost traces are noticed", 60, interval=0.1)
        assert "requestfailed" not in checker.errors()
        assert "a trace is not as it was written" in checker.logs()


def test_spans_that_are_dropped_on_the_way_are_missing(tmp_path):
    rules = [{"name": "some", "query": '{ name = "price" }'}]
    server = Tactus(tmp_path / "server", config={"distributor": {"drop_rules": rules}})
    try:
        server.start()
        with checker_of(server, tmp_path, ages="1s", late="0s") as checker:
            eventually(lambda: checker.errors().keys() >= {"missingspans", "incorrect_metrics_result"}, "missing spans", interval=0.1)
            # A search finds nothing if all that it is for were dropped, or all between them and the root.
            assert checker.errors().keys() <= {"missingspans", "incorrect_metrics_result", "incorrectresult", "notfound_traceql"}
    finally:
        server.close()


def test_server_that_is_away_is_counted_and_come_back_to(server, tmp_path):
    with checker_of(server, tmp_path, late="0s") as checker:
        checker.await_correct("1s", 8)
        server.kill()
        eventually(lambda: checker.errors().get("requestfailed", 0) > 0, "failed requests", 30)
        eventually(lambda: checker.sum("tactus_check_pushes_total", 'outcome="failed"') > 0, "failed pushes", 30)
        metrics = checker.metrics()
        failed = sum(value for name, value in metrics.items() if name.startswith("tactus_check_pushes_total") and 'outcome="failed"' in name)
        assert metrics["tempo_vulture_error_total"] > failed > 0, "pushes and queries"
        before = checker.sum("tactus_check_known_traces")
        server.start()
        eventually(lambda: checker.sum("tactus_check_known_traces") > before + 2, "traces are written again", 60, interval=0.1)
        checker.await_correct("1s", 8)
        assert checker.errors().keys() == {"requestfailed"}, "a server that is killed has lost nothing"
        assert checker.stop() == 0


def test_server_that_refuses_is_told_from_one_that_fails(tmp_path):
    limits = {"rate_limit_bytes": 1, "burst_size_bytes": 1}
    server = Tactus(tmp_path / "server", config={"overrides": {"defaults": {"ingestion": limits}}})
    try:
        server.start()
        with checker_of(server, tmp_path) as checker:
            eventually(lambda: checker.sum("tactus_check_pushes_total", 'outcome="refused"') > 0, "refused pushes")
            assert checker.sum("tactus_check_pushes_total", 'outcome="failed"') == 0
            assert checker.sum("tactus_check_known_traces") == 0 and checker.errors() == {}
    finally:
        server.close()


def test_memory_is_bounded_while_the_server_is_away(tmp_path):
    with Checker(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1", interval="10ms", ages="1s,2s") as checker:
        eventually(lambda: checker.sum("tactus_check_skipped_total", 'what="push"') > 100, "slots are passed over", 60)
        assert checker.sum("process_resident_memory_bytes") < 100 << 20
        assert checker.stop() == 0


# --- as whom ---------------------------------------------------------------------------------------------------------


def test_tenants_are_checked_each_by_itself(tmp_path):
    server = Tactus(tmp_path / "server", config={"multitenancy_enabled": True})
    try:
        server.start()
        with checker_of(server, tmp_path, "--org-id", "red,blue", ages="1s", late="0s") as checker:
            for tenant in ("red", "blue"):
                eventually(lambda t=tenant: checker.sum("tactus_check_known_traces", f'tenant="{t}"') > 3, f"traces of {tenant}")
            checker.await_correct("1s", 16)
            assert checker.errors() == {}
        without = once("--push-url", server.otlp_url, "--query-url", server.url, code=1)
        assert "push to" in without
    finally:
        server.close()


def test_tokens_and_certificates_are_shown(tmp_path):
    certificates = Certificates(tmp_path)
    users, token = tmp_path / "users.yaml", tmp_path / "token"
    made = subprocess.run([tactusctl(), "--json", "auth", "token"], capture_output=True, text=True, timeout=30, check=True)
    made = json.loads(made.stdout)
    users.write_text(json.dumps({"users": [{"name": "checker", made["key"]: made["value"], "tenants": "*", "roles": ["read", "write"]}]}))
    token.write_text(made["token"] + "\n")
    tls = {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}
    server = Tactus(tmp_path / "server", config={
        "distributor": {"receivers": {"otlp": {"protocols": {"http": {"tls": tls}, "grpc": {"tls": tls}}}}},
        "auth": {"enabled": True, "users_file": str(users)}})
    try:
        server.start()
        flags = ["--query-url", server.url, "--tls-ca", certificates.authority, "--traces", 1]
        for push in (f"https://127.0.0.1:{server.otlp_http_port}", f"grpcs://127.0.0.1:{server.otlp_grpc_port}"):
            assert once("--push-url", push, *flags, "--bearer-token-file", token)["wrong"] == 0
            assert "push to" in once("--push-url", push, *flags, code=1)
    finally:
        server.close()


# --- a cluster -------------------------------------------------------------------------------------------------------


def test_nothing_is_missed_while_an_ingester_is_killed(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    with Cluster(tmp_path / "cluster", bucket, counts) as cluster:
        cluster.start()
        distributor, frontend = cluster["distributor-0"], cluster["query-frontend-0"]
        with Checker(tmp_path / "checker", distributor.otlp_url, frontend.url, interval="400ms", ages="2s,6s") as checker:
            checker.await_correct("2s", 12)
            cluster["ingester-1"].kill()
            checker.await_correct("2s", 16, timeout=90)
            checker.await_correct("6s", 16, timeout=90)
            assert not checker.errors().keys() - {"requestfailed", "partial"}, (checker.errors(), checker.logs()[-3000:])
            assert checker.errors() == {}, checker.logs()[-3000:]
