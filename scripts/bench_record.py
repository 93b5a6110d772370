"""The figures of the last recorded run of scripts/bench.py, bench/record.json, and what has become of them."""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration-tests"))
from harness.paths import BENCH, REPOSITORY  # noqa: E402

RECORD = BENCH / "record.json"
MOST = 1.10
# Below such a difference a figure says nothing: by the end of its name, in its unit.
NOISE = {"CPU ms": 0.5, "MiB": 8, "requests": 0.5}


def write(run_as, figures):
    commit = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], check=True, text=True, capture_output=True).stdout.strip()
    rounded = {name: round(figure, 3) for name, figure in figures.items()}
    RECORD.write_text(json.dumps({"commit": commit, "run": run_as, "figures": rounded}, indent=2) + "\n")


def worse(name, before, now):
    noise = next((noise for end, noise in NOISE.items() if name.endswith(end)), 0)
    return now > before * MOST and now - before > noise


def compare(run_as, figures):
    """Prints a row for each figure; whether none is worse by more than a tenth."""
    if not RECORD.exists():
        print("\nNothing is recorded to compare with.")
        return True
    record = json.loads(RECORD.read_text())
    if record["run"] != run_as:
        print(f"\nNot compared: the record is of a run with {record['run']}.")
        return True
    print(f"\nAgainst commit {record['commit']}:\n\n| figure | then | now | ratio | |\n|---|---|---|---|---|")
    lost = []
    for name, now in figures.items():
        before = record["figures"].get(name)
        if before is None:
            print(f"| {name} | | {now:.2f} | | new |")
            continue
        if worse(name, before, now):
            lost.append(name)
        ratio = f"{now / before:.2f}" if before else ""
        print(f"| {name} | {before:.2f} | {now:.2f} | {ratio} | {'worse' if name in lost else ''} |")
    if lost:
        print(f"\n{len(lost)} figures are worse by more than a tenth: " + "; ".join(lost), file=sys.stderr)
    return not lost
