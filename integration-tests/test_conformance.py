"""The recorded conformance cases, asked of the built server."""
import re
import subprocess
import sys

from harness.paths import CONFORMANCE

KINDS = "trace,errors,tags,legacy,values,search"


def test_recorded_cases_are_answered_as_expected(servers):
    server = servers.start(config={
        "query_frontend": {"metrics": {"query_backend_after": "1s", "max_duration": "24h"}},
        "storage": {"trace": {"blocklist_poll": "5s"}}})
    done = subprocess.run(
        [sys.executable, CONFORMANCE / "run.py", "--url", server.url, "--otlp", server.otlp_url, "--only", KINDS, "-v"],
        capture_output=True, text=True, timeout=500)
    print(done.stdout[-20_000:], done.stderr[-4_000:])
    closing = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    assert closing, "the run did not come to its end"
    assert int(closing[1]) > 200 and int(closing[2]) == 0 and done.returncode == 0, closing[0]
