"""What deploy/grafana and deploy/prometheus give to Grafana and Prometheus: well formed, up to date, and each alert fires and ends.
What they ask is asked of a real Prometheus over a cluster in test_self_monitoring.py."""
import json
import re
import subprocess
import sys

import pytest
import yaml

from harness.documents import FENCE
from harness.paths import REPOSITORY
from harness.promql import metric_names
from harness.tools import need

GRAFANA, PROMETHEUS = REPOSITORY / "deploy/grafana", REPOSITORY / "deploy/prometheus"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


def test_what_is_written_is_what_the_descriptions_say():
    done = subprocess.run([sys.executable, REPOSITORY / "scripts/monitoring.py", "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_rules_pass_the_check_of_prometheus():
    done = subprocess.run([need("promtool"), "check", "rules", PROMETHEUS / "rules.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["rules.test.yaml", "rules.week.test.yaml"])
def test_alerts_fire_and_end(name):
    done = subprocess.run([need("promtool"), "test", "rules", PROMETHEUS / name], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test_that_fires_and_ends_and_an_entry_in_the_runbook():
    tests = [step for name in ("rules.test.yaml", "rules.week.test.yaml")
             for test in yaml.safe_load((PROMETHEUS / name).read_text())["tests"] for step in test["alert_rule_test"]]
    runbook = (REPOSITORY / "docs/operations/runbook.md").read_text()
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", runbook, re.MULTILINE)}
    for name, alert in ALERTS.items():
        assert [bool(step["exp_alerts"]) for step in tests if step["alertname"] == name] == [False, True, False], name
        path, anchor = alert["annotations"]["runbook"].split("#")
        assert (REPOSITORY / path).is_file() and anchor in anchors, name
        said = re.search(rf"^### {name}\n\n```promql\n.*?^```\n\n(.*?)(?=^#|\Z)", runbook, re.MULTILINE | re.DOTALL)[1]
        assert len(said) > 60, f"{name}: what to do?"
        assert alert["labels"]["severity"] in {"critical", "warning"} and alert["annotations"]["summary"].endswith(".")
    mentioned = set(re.findall(r"\bTactus[A-Z]\w+", runbook))
    assert mentioned == set(ALERTS)


def test_dashboards_have_ids_places_and_queries_of_their_own():
    uids = set()
    assert len(DASHBOARDS) >= 6
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert board["uid"] not in uids and board["title"].startswith("Tactus / ")
        uids.add(board["uid"])
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        cells = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            covered = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & covered and max(x for x, _ in covered) < 24, (path.name, panel["title"])
            cells |= covered
            if panel["type"] != "row":
                assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
                for target in panel["targets"]:
                    assert '{cluster=~"$cluster", namespace=~"$namespace"' in target["expr"] and "$scope" not in target["expr"]


def test_sources_know_one_another():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/tactus.yaml").read_text())["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    assert {source["type"] for source in sources} == {"tempo", "prometheus"}
    tempo, prometheus = by_uid["tactus"]["jsonData"], by_uid["tactus-prometheus"]["jsonData"]
    for key in ("serviceMap", "tracesToMetrics"):
        assert by_uid[tempo[key]["datasourceUid"]]["type"] == "prometheus", key
    assert tempo["tracesToLogsV2"]["filterByTraceID"] is True
    # A trace id in an exemplar of the generator's and of our own latencies leads to its trace.
    links = {link["name"]: by_uid[link["datasourceUid"]]["type"] for link in prometheus["exemplarTraceIdDestinations"]}
    assert links == {"traceID": "tempo", "trace_id": "tempo"}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/tactus.yaml").read_text())["providers"]
    assert provider["type"] == "file"


# Units of Grafana's durations, in seconds.
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}


def seconds(shift):
    number, unit = re.fullmatch(r"(-?\d+)(ms|[smhdwMy])", shift).groups()
    return int(number) * UNITS[unit]


def data_sources():
    """(file, data source) of everything that Grafana reads from us, or that a page shows."""
    texts = [(path, path.read_text()) for name in ("deploy", "helm") for path in sorted((REPOSITORY / name).rglob("*.yaml"))]
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        texts += [(page, text) for language, text in FENCE.findall(page.read_text()) if language == "yaml"]
    for path, text in texts:
        if re.search(r"^datasources:", text, re.MULTILINE):
            for source in yaml.safe_load(text)["datasources"]:
                yield path.name, source


def test_time_shifts_of_data_sources_make_windows_that_contain_the_trace():
    seen = set()
    for file, source in data_sources():
        for name, settings in source["jsonData"].items():
            if not isinstance(settings, dict) or not {"spanStartTimeShift", "spanEndTimeShift"} & set(settings):
                continue
            seen.add((file, name))
            start, end = seconds(settings["spanStartTimeShift"]), seconds(settings["spanEndTimeShift"])
            # Grafana adds both to the times of a span, for links from it. For a trace it takes the start's from the range on the screen.
            assert (-start if name == "traceQuery" else start) < 0 < end, (file, source["name"], name)
    assert {("tactus.yaml", "traceQuery"), ("tactus.yaml", "tracesToLogsV2"), ("grafana.md", "tracesToMetrics")} <= seen


@pytest.mark.parametrize(("expression", "names"), [
    ('sum by (le, job) (rate(a_total{x="b", y=~"c{d}"}[5m])) / on (job) group_left (z) b:c:d offset 7d > 1e9', {"a_total", "b:c:d"}),
    ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[$__rate_interval]))) and time() - y unless on () (z == bool Inf)", {"x_bucket", "y", "z"}),
    ('sum without (pod) (up) # comment', {"up"}),
])
def test_names_of_metrics_are_found_in_expressions(expression, names):
    assert metric_names(expression) == names
