"""The recorded conformance cases, asked of the built server: of blocks, of live spans, and of segments."""
import re
import subprocess
import sys

from harness.dataset import push_dataset
from harness.paths import CONFORMANCE
from harness.waiting import eventually

KINDS = "trace,errors,tags,legacy,values,search,metrics,instant"
CONFIG = {
    "query_frontend": {"metrics": {"query_backend_after": "1s", "max_duration": "24h"}},
    "storage": {"trace": {"blocklist_poll": "5s"}},
}


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
    periods = {"trace_idle_period": "1h", "trace_live_period": "1h"}
    server = servers.start(config={**CONFIG, "ingester": periods})
    base, _ = push_dataset(server)
    assert not list(server.wal.rglob("*.seg")) and not list(server.blocks.rglob("*.parquet"))
    run_cases(server, "--base", str(base))


def test_recorded_cases_are_answered_from_segments(servers):
    server = servers.start(config={**CONFIG, "ingester": {"trace_idle_period": "500ms"}})
    base, _ = push_dataset(server)
    eventually(lambda: list(server.wal.rglob("*.seg")), "live spans are cut to a segment")
    assert not list(server.blocks.rglob("*.parquet"))
    run_cases(server, "--base", str(base))
