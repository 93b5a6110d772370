"""The recorded conformance cases, asked of the built server: wherever the spans are, the answers are the recorded ones."""
import re
import subprocess
import sys
import time

from harness.cluster import Cluster
from harness.dataset import parts_of_dataset, push_dataset
from harness.paths import CONFORMANCE
from harness.server import merge
from harness.waiting import eventually

KINDS = "trace,errors,tags,legacy,values,search,metrics,instant"
CONFIG = {
    "query_frontend": {"metrics": {"query_backend_after": "1s", "max_duration": "24h"}},
    "storage": {"trace": {"blocklist_poll": "5s"}},
}
LIVE = {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}}
NO_MERGES = {"overrides": {"defaults": {"compaction": {"compaction_disabled": True}}}}


def run_cases(server, *arguments):
    done = subprocess.run(
        [sys.executable, CONFORMANCE / "run.py", "--url", server.url, "--otlp", server.otlp_url, "--only", KINDS, "-v",
         *arguments],
        capture_output=True, text=True, timeout=500)
    print(done.stdout[-20_000:], done.stderr[-4_000:])
    closing = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    assert closing, "the run did not come to its end"
    assert int(closing[1]) > 200 and int(closing[2]) == 0 and done.returncode == 0, closing[0]


def test_recorded_cases_are_answered_from_blocks(servers):
    run_cases(servers.start(config=CONFIG))


def test_recorded_cases_are_answered_from_live_spans(servers):
    server = servers.start(config=merge(CONFIG, LIVE))
    base, _ = push_dataset(server)
    assert not list(server.wal.rglob("*.seg")) and not list(server.blocks.rglob("*.parquet"))
    run_cases(server, "--base", str(base))


def test_recorded_cases_are_answered_from_segments(servers):
    server = servers.start(config=merge(CONFIG, {"ingester": {"trace_idle_period": "500ms"}}))
    base, _ = push_dataset(server)
    eventually(lambda: list(server.wal.rglob("*.seg")), "live spans are cut to a segment")
    assert not list(server.blocks.rglob("*.parquet"))
    run_cases(server, "--base", str(base))


def test_recorded_cases_are_answered_from_several_blocks(servers):
    server = servers.start(config=merge(CONFIG, NO_MERGES))
    base, parts = parts_of_dataset(4, lambda span: span.trace_id[-1] % 4)
    for part in parts:
        for request in part:
            server.must_push(request)
        server.flush()
    eventually(lambda: len(server.block_directories()) == 4, "a block of each part")
    run_cases(server, "--base", str(base))


def test_recorded_cases_are_answered_for_several_tenants_at_once(servers):
    """Some of their traces are live, some in blocks of one tenant or the other."""
    server = servers.start(config=merge(merge(CONFIG, LIVE), {"multitenancy_enabled": True}))
    base, parts = parts_of_dataset(3, lambda span: span.trace_id[-1] % 3)
    for tenant, part in zip("bac", parts):
        tenant = {"X-Scope-OrgID": tenant}
        for request in part:
            assert server.push(request, headers=tenant).status_code == 200
        if tenant != {"X-Scope-OrgID": "a"}:
            assert server.get("/flush", headers=tenant).status_code == 204
    run_cases(server, "--base", str(base), "--tenant", "a|b|c")


def test_recorded_cases_are_answered_by_a_cluster(tmp_path, bucket):
    """Each trace is on three ingesters, its spans sent in two parts; then in their blocks."""
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 2}
    storage = {"blocklist_poll": "1s", "wal": {"ingestion_time_range_slack": "2h"}}
    config = merge(CONFIG, {"ingester": {"max_block_duration": "1h"}, "storage": {"trace": storage}})
    with Cluster(tmp_path, bucket, counts, config=config) as cluster:
        cluster.start()
        base, parts = parts_of_dataset(2, lambda span: span.span_id[-1] % 2)
        for part in parts:
            for request in part:
                cluster["distributor-0"].must_push(request)
            time.sleep(2)  # the spans of the first part are cut to segments
        frontend = cluster["query-frontend-0"]
        run_cases(frontend, "--base", str(base))
        cluster.flush()
        time.sleep(8)  # ingesters forget what has been stored for `complete_block_timeout`
        run_cases(frontend, "--base", str(base))
