"""Small programs of the crates that need no server: what their first lines say that they show."""
import re
import subprocess

from harness.paths import CONFORMANCE, example_binary


def run(name, *arguments):
    return subprocess.run([example_binary(name), *arguments], capture_output=True, text=True, timeout=60)


def test_query_runs_on_spans_in_memory():
    done = run("evaluate_query")
    assert done.returncode == 0, done.stderr
    assert "matched: 1 of 3 spans" in done.stdout and "shop GET /cart" in done.stdout
    done = run("evaluate_query", "{ duration > 100ms } | select(status)")
    assert "matched: 2 of 3 spans" in done.stdout and "status = error" in done.stdout, done.stdout
    done = run("evaluate_query", "{ nonsense }")
    assert done.returncode == 1 and "nonsense" in done.stderr


def test_block_is_shown_from_its_directory():
    for version in ("vParquet4", "vParquet5"):
        (meta,) = (CONFORMANCE / "blocks" / version).glob("*/*/meta.json")
        done = run("show_block", meta.parent)
        assert done.returncode == 0, done.stderr
        assert f"{version}, 64 traces" in done.stdout, done.stdout
        groups = re.findall(r"row group \d+: (\d+) spans of (\d+) traces", done.stdout)
        assert [sum(map(int, counts)) for counts in zip(*groups)] == [252, 64], done.stdout
        assert re.search(r"^trace [0-9a-f]{32}\n  \w+ \w+ [\d.]+ ms$", done.stdout, re.MULTILINE), done.stdout
    done = run("show_block", meta.parent, "0" * 31 + "1")
    assert done.returncode == 1 and "no such trace" in done.stderr
