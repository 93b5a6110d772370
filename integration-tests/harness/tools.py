"""Programs that tests start and that are not part of the project.

A test whose program cannot be had on this machine is skipped under the program's name, and the end of the run counts them;
with TACTUS_REQUIRE_TOOLS set, as in CI, it fails.
"""
import collections
import os
import pathlib
import shutil

import pytest

REASON = "is not installed"


def need(name, path=None):
    """Where a program is: at `path`, else on PATH. Without it the test that asked ends here."""
    found = shutil.which(name) if path is None else path if pathlib.Path(path).exists() else None
    if found:
        return str(found)
    if os.environ.get("TACTUS_REQUIRE_TOOLS"):
        pytest.fail(f"{name} {REASON}: make test-tools", pytrace=False)
    pytest.skip(f"{name} {REASON}")


def summary(reports):
    """A line a program for which tests were skipped, of all reports of skipped tests."""
    reasons = (report.longrepr[2].removeprefix("Skipped: ") for report in reports if isinstance(report.longrepr, tuple))
    missing = collections.Counter(
        reason.removesuffix(REASON).strip() for reason in reasons if reason.endswith(REASON))
    return [f"{name}: {count} tests skipped" for name, count in sorted(missing.items())]
