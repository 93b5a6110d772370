"""Recorded scenarios of the metrics generator through a real Prometheus; all of them are `make conformance-generator`."""
import re
import subprocess
import sys

from harness.paths import CONFORMANCE, tactus_binary
from harness.tools import need

# Every processor, histogram form and limit. They wait most of the time, so that all run at once.
SCENARIOS = [
    "worked-example", "dimensions", "target-info", "service-graphs", "service-graphs-dimensions", "native", "both", "host-info",
    "limit-series", "sub-processors", "tenants", "retries", "shutdown", "aliases", "overrides-change",
]


def test_recorded_scenarios_give_the_recorded_series(tmp_path):
    done = subprocess.run(
        [sys.executable, CONFORMANCE / "generator.py", "--server-cmd", f"{tactus_binary()} -config.file={{config}}",
         "--prometheus", need("prometheus"), "--only", ",".join(SCENARIOS), "--jobs", str(len(SCENARIOS)), "--keep", tmp_path],
        capture_output=True, text=True, timeout=420)
    print(done.stdout[-20_000:], done.stderr[-4_000:])
    closing = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    assert closing, "the run did not come to its end"
    assert int(closing[1]) > 500 and int(closing[2]) == 0 and done.returncode == 0, closing[0]
