"""docs/operations/metrics.md has every metric that there is, and no other, as the code and a server's page have it."""
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.generator import generator
from harness.paths import REPOSITORY
from harness.server import merge
from harness.servers import Servers
from harness.shop import Shop
from harness.waiting import eventually

PAGE = REPOSITORY / "docs" / "operations" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| (.+) \|$", re.MULTILINE)
NAME = r"(?:gauge_memberlist|tempo|tempodb|tactus|process|go|prometheus)_[a-z0-9_]*[a-z0-9]"
# At a page of its own, /usage_metrics, which the text of the page names.
ELSEWHERE = {"tempo_usage_tracker_bytes_received_total"}


def documented():
    """Type, labels and meaning by name."""
    found = ROW.findall(PAGE.read_text())
    assert len({name for name, *_ in found}) == len(found), "a metric stands twice"
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning.replace("\\|", "|")) for name, kind, labels, meaning in found}


def missing():
    """Metrics of Tempo that the page says are not here: those that an entry begins with, or consists of."""
    section = PAGE.read_text().partition("\n## Metrics of Tempo that are not here\n")[2].partition("These are here and differ:")[0]
    heads = re.findall(r"^- (`\w+`(?:,\s+`\w+`)*)", section, re.MULTILINE)
    return {name for head in heads for name in re.findall(r"`(tempo_\w+)`", head)}


def code():
    """The code without its tests."""
    for folder in ("libs", "services"):
        for file in sorted((REPOSITORY / folder).glob("*/src/**/*.rs")):
            if "tests" not in file.stem and "tests" not in file.parts:
                yield file.read_text().partition("\n#[cfg(test)]\nmod tests {")[0]


def test_the_page_has_the_metrics_of_the_code_and_no_other():
    named = set()
    for text in code():
        named |= set(re.findall(rf'"({NAME})"', text))
    assert len(named) > 200
    known = set(documented())
    meanings = {name: text for code_text in code() for name, text in re.findall(rf'"({NAME})",\s*"([^"]*)"', code_text)}
    lacks = [f"| `{name}` | TYPE | LABELS | {meanings.get(name, 'MEANING')} |" for name in sorted(named - known - ELSEWHERE)]
    assert not lacks, "docs/operations/metrics.md lacks:\n" + "\n".join(lacks)
    assert known - named == set(), "docs/operations/metrics.md has these, the code does not"


def test_metrics_that_the_page_says_are_not_here_are_not():
    named = {name for text in code() for name in re.findall(rf'"({NAME})"', text)}
    assert len(missing()) > 15 and not missing() & named, missing() & named


def test_meanings_of_the_page_are_those_of_the_code():
    texts = " ".join(re.sub(r"\\\n\s*", "", text) for text in code())
    for name, (_, _, meaning) in documented().items():
        assert f'"{meaning}"' in texts, f"{name}: the code does not say {meaning!r}"


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """What a server shows that took spans, answered queries and wrote a block: families by name."""
    directory = tmp_path_factory.mktemp("metrics")
    group = Servers(directory)
    server = group.start(config=merge(generator(directory), {
        "storage": {"trace": {"blocklist_poll": "300ms"}}, "distributor": {"metric_received_spans": {"enabled": True}}}))
    for request in Shop(time.time_ns() - 10 * 10**9).requests:
        server.must_push(request)
    server.flush()
    for path, query in (("search", "{ }"), ("metrics/query_range", "{ } | rate()")):
        assert server.get(f"/api/{path}", q=query, since="1h").status_code == 200
    late = ("tempo_metrics_generator_registry_active_series{", "tempodb_blocklist_length{", "tempodb_backend_bytes_total{")
    eventually(lambda: all(name in server.get("/metrics").text for name in late), "series of the generator, and a poll")
    text = server.get("/metrics").text
    yield {family.name: family for family in text_string_to_metric_families(text)}
    group.close()


def test_what_a_server_shows_is_as_the_page_says(families):
    known = documented()
    for name, family in families.items():
        # The parser takes `_total` from the names of counters.
        name = name if name in known else f"{name}_total"
        assert name in known, f"docs/operations/metrics.md lacks {name}"
        kind, labels, meaning = known[name]
        shown = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.type == kind, f"{name} is a {family.type}"
        assert shown == labels, f"{name} has the labels {shown}"
    assert len(families) > 120
