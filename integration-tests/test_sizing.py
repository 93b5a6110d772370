"""The calculator of sizes computes what the pages measured and say."""
import re
import subprocess
import sys

import pytest

from harness.paths import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "sizing.py"
sys.path.insert(0, str(SCRIPT.parent))
import sizing  # noqa: E402

PAGE = (REPOSITORY / "docs" / "operations" / "sizing.md").read_text()
BENCHMARKS = (REPOSITORY / "docs" / "benchmarks.md").read_text()
OPERATIONS = (REPOSITORY / "docs" / "operations" / "README.md").read_text()
CONFIGURATION = (REPOSITORY / "docs" / "configuration.md").read_text()


def last_number(page, row, column):
    """The last number in a cell of the row that begins so."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {row} |")]
    return float(re.findall(r"\d+(?:\.\d+)?", line.split("|")[column])[-1])


def default(key):
    (line,) = [line for line in CONFIGURATION.splitlines() if line.startswith(f"| `{key}` |")]
    return int(line.split("|")[3].strip(" `"))


def test_constants_are_those_that_were_measured():
    assert last_number(BENCHMARKS, "distributor", 3) == sizing.DISTRIBUTOR_CPU
    assert last_number(BENCHMARKS, "each ingester", 3) == sizing.INGESTER_CPU
    assert last_number(BENCHMARKS, "45 blocks of 115 MB, 91.0 M spans, one trace in ten in all", 2) == sizing.COMPACTION_CPU
    assert last_number(BENCHMARKS, "stored bytes a span, 2.0 M spans in one block", 4) == sizing.STORED_BYTES
    assert f"{sizing.SEGMENT_BYTES} bytes in segments" in OPERATIONS


def test_bounds_are_the_defaults_of_the_configuration():
    assert default("ingester.max_live_bytes") == sizing.LIVE_BYTES
    assert default("querier.max_job_memory_bytes") == sizing.JOB_MEMORY
    assert default("compactor.compaction.max_memory_bytes") == sizing.COMPACTION_MEMORY


def test_examples_of_the_page_are_what_the_script_prints():
    examples = re.findall(r"\$ python3 scripts/sizing\.py ([^\n]+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for arguments, shown in examples:
        done = subprocess.run([sys.executable, SCRIPT, *arguments.split()], capture_output=True, text=True, check=True)
        assert done.stdout == shown


def rows(**given):
    known = {"spans": 100_000, "bytes_a_span": 236, "retention_days": 14, "replication": 3, "peak": 2, "cores_each": 2,
             "query_cores": 4, "outage_hours": 1}
    plan, bucket = sizing.plan(**{**known, **given})
    return {row[0]: row[1:] for row in plan}, bucket


def test_ingesters_are_never_fewer_than_copies():
    assert rows(spans=10)[0]["ingester"][0] == 3
    assert rows(spans=10, replication=1)[0]["ingester"][0] == 1


@pytest.mark.parametrize("service", ["distributor", "ingester", "compactor"])
def test_ten_times_the_spans_take_about_ten_times_the_processors(service):
    many, more = (rows(spans=spans)[0][service][0] for spans in (6_000_000, 60_000_000))
    assert 9 <= more / many <= 11


def test_bucket_and_disks_grow_with_spans_and_time():
    small, large = rows(), rows(retention_days=28, outage_hours=2)
    assert large[1] == 2 * small[1]
    assert large[0]["ingester"][3] > 1.5 * small[0]["ingester"][3]
    assert small[1] == pytest.approx(100_000 * 86_400 * 14 * sizing.STORED_BYTES)


def test_requests_grow_with_spans_and_copies():
    writes, reads = sizing.requests_a_day(100_000, 3)
    assert sizing.requests_a_day(200_000, 3) == pytest.approx((2 * writes, 2 * reads))
    fewer_writes, fewer_reads = sizing.requests_a_day(100_000, 1)
    assert fewer_writes < writes and fewer_reads < reads
    # Merged once and twice more, 8 MiB an upload: at least so many.
    assert writes > 100_000 * 86_400 * sizing.STORED_BYTES * 6 / (8 << 20)
