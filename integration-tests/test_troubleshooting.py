"""Texts, metrics and keys that the pages name exist."""
import re

import pytest

from harness.paths import REPOSITORY
from test_metric_reference import ELSEWHERE, code, documented, missing

DOCS = REPOSITORY / "docs"
PAGES = sorted(page for page in [*DOCS.rglob("*.md"), REPOSITORY / "README.md"] if "adr" not in page.parts)
KEYS = set(re.findall(r"^\| `([\w.\[\]]+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE))
# Attributes of spans that look like keys.
ATTRIBUTES = {"server.address", "server.port", "sampling.probability"}
SECTIONS = {key.partition(".")[0] for key in KEYS if "." in key}


def name(page):
    return str(page.relative_to(REPOSITORY))


def test_texts_of_the_troubleshooting_page_are_those_of_the_code():
    # Texts are made of constants and of values in braces, and may go on over lines.
    texts = re.sub(r"\\\n\s*", "", "\n".join(code()))
    seen = 0
    for row in re.findall(r"^\| ([^|]*) \|", (DOCS / "operations/troubleshooting.md").read_text(), re.MULTILINE):
        for text in re.findall(r"`([^`]* [^`]*)`", row):
            for part in filter(None, (part.strip(" .;(:") for part in re.split(r"…", text))):
                assert part in texts, f"no text of the code has {part!r}"
                seen += 1
    assert seen > 50


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_metrics_that_a_page_names_exist(page):
    known = set(documented()) | ELSEWHERE | (missing() if page.name == "metrics.md" else set())
    for metric in re.findall(r"\b(?:tempo|tempodb|tactus)_[a-z0-9_]*[a-z0-9]\b(?!\*|…|_)", page.read_text()):
        plain = re.sub(r"_(bucket|sum|count)$", "", metric)
        assert {metric, plain} & known or not is_metric(metric), f"{name(page)}: {metric}"


def is_metric(word):
    """Whether a word is one of a metric, and not of a file, a package or a data source."""
    return re.search(r"_(total|seconds|bytes|length|count|spans|members|blocks|jobs)$", word)


# On the page of Kubernetes keys are values of the chart, which test_helm.py checks.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "kubernetes.md"], ids=name)
def test_keys_that_a_page_names_exist(page):
    plain = {re.sub(r"\[\]", "", key) for key in KEYS}
    prefixes = {key.rsplit(".", number)[0] for key in plain for number in range(1, key.count(".") + 1)} | plain
    for key in set(re.findall(r"`((?:[a-z][a-z0-9_]+\.)+[a-z][a-z0-9_]+)(?:: [^`]*)?`", page.read_text())) - ATTRIBUTES:
        if key.partition(".")[0] in SECTIONS and not key.endswith(".rs"):
            assert {key, f"overrides.defaults.{key}"} & prefixes, f"{name(page)}: there is no key {key}"
