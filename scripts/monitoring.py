#!/usr/bin/env python3
"""Writes what Grafana and Prometheus are given from its descriptions: dashboards of deploy/grafana/dashboards.yaml; rules, alerts, their
unit tests and the expressions in the runbook of deploy/prometheus/alerts.yaml. With `--check` it writes nothing and fails where
something is not as it would write it."""
import json
import pathlib
import re
import sys

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DASHBOARDS = REPOSITORY / "deploy/grafana/dashboards.yaml"
ALERTS = REPOSITORY / "deploy/prometheus/alerts.yaml"
RUNBOOK = "docs/operations/runbook.md"
SCOPE = 'cluster=~"$cluster", namespace=~"$namespace"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NOTE = "# Written by scripts/monitoring.py of alerts.yaml: change that.\n"
WIDTH, HEIGHT = 8, 7


# --- dashboards ------------------------------------------------------------------------------------------------------


def panels(described):
    """The panels that an entry of a row stands for: (title, unit, stacked, {legend: query})."""
    if "queries" in described:
        yield described["title"], described["unit"], described.get("stack", False), described["queries"]
        return
    kind = next(kind for kind in ("both", "traffic", "latency") if kind in described)
    metric, name = described[kind], described["name"]
    where = "{" + ", ".join(filter(None, ["$scope", described.get("where")])) + "}"

    def rate(suffix):
        return f"rate({metric}_{suffix}{where}[$__rate_interval])"

    by = described.get("by", "status_code")
    if kind != "latency":
        yield f"{name}: requests", "reqps", True, {"{{" + by + "}}": f"sum by ({by}) ({rate('count')})"}
    if kind != "traffic":
        yield f"{name}: duration", "s", False, {
            "99 %": f"histogram_quantile(0.99, sum by (le) ({rate('bucket')}))",
            "50 %": f"histogram_quantile(0.5, sum by (le) ({rate('bucket')}))",
            "mean": f"sum({rate('sum')}) / sum({rate('count')})",
        }


def scoped(query):
    return query.replace("$scope", SCOPE)


def panel(number, title, unit, stacked, queries, place):
    custom = {"fillOpacity": 30 if stacked else 8, "lineWidth": 1, "showPoints": "never",
              "stacking": {"mode": "normal" if stacked else "none"}}
    return {
        "id": number, "type": "timeseries", "title": title, "datasource": SOURCE, "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": scoped(query), "legendFormat": legend, "exemplar": "_bucket" in query}
            for i, (legend, query) in enumerate(queries.items())],
    }


def variable(name, query, with_all):
    """A drop-down of label values; with all of them `.*`, which series without the label match as well."""
    every = {"includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}} if with_all else {"includeAll": False}
    return {"type": "query", "name": name, "label": name, "datasource": SOURCE, "refresh": 2, "sort": 1,
            "query": {"query": query, "refId": "variable"}, "definition": query, **every}


def dashboard(name, described):
    out, number, y = [], 0, 0
    for row, entries in described["rows"].items():
        number += 1
        out.append({"id": number, "type": "row", "title": row, "collapsed": False, "panels": [],
                    "gridPos": {"x": 0, "y": y, "w": 3 * WIDTH, "h": 1}})
        y += 1
        parts = [part for entry in entries for part in panels(entry)]
        for i, part in enumerate(parts):
            number += 1
            place = {"x": i % 3 * WIDTH, "y": y + i // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT}
            out.append(panel(number, *part, place))
        y += -(-len(parts) // 3) * HEIGHT
    more = [variable(name, scoped(query), False) for name, query in described.get("variables", {}).items()]
    return {
        "uid": f"tactus-{name}", "title": described["title"], "tags": ["tactus"], "editable": True, "schemaVersion": 39, "version": 1,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "30s", "graphTooltip": 1, "timezone": "", "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["tactus"], "title": "Tactus", "asDropdown": True, "includeVars": True, "keepTime": True}],
        "templating": {"list": [
            {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}},
            variable("cluster", "label_values(tempo_build_info, cluster)", True),
            variable("namespace", 'label_values(tempo_build_info{cluster=~"$cluster"}, namespace)', True), *more]},
        "panels": out,
    }


# --- rules -----------------------------------------------------------------------------------------------------------


def annotations(name, alert):
    return {"summary": alert["summary"], "runbook": f"{RUNBOOK}#{name.lower()}"}


def rules(described):
    alerts = [
        {"alert": name, "expr": alert["expr"], **({"for": alert["for"]} if "for" in alert else {}),
         "labels": {"severity": alert["severity"]}, "annotations": annotations(name, alert)}
        for name, alert in described["alerts"].items()]
    return {"groups": [
        {"name": "tactus_rules", "rules": [{"record": name, "expr": expr} for name, expr in described["record"].items()]},
        {"name": "tactus_alerts", "rules": alerts}]}


def series(name):
    metric, _, labels = name.partition("{")
    return metric + "{" + ", ".join(filter(None, ['cluster="c", namespace="n"', labels.rstrip("}")])) + "}"


def unit_test(name, alert):
    """The alert does not fire with the first sample, fires with exactly its labels, and is over."""
    test = alert["test"]
    firing = {"exp_labels": {"severity": alert["severity"], "cluster": "c", "namespace": "n", **test.get("labels", {})},
              "exp_annotations": annotations(name, alert)}
    return {
        "interval": f"{test.get('interval', 1)}m",
        "input_series": [{"series": series(key), "values": values} for key, values in test["series"].items()],
        "alert_rule_test": [
            {"eval_time": f"{test.get('interval', 1)}m", "alertname": name, "exp_alerts": []},
            {"eval_time": f"{test['fires']}m", "alertname": name, "exp_alerts": [firing]},
            {"eval_time": f"{test['ends']}m", "alertname": name, "exp_alerts": []}],
    }


def runbook(text, described):
    """The text with each entry's expression as the description has it."""
    def entry(match):
        alert = described["alerts"].get(match[1])
        if alert is None:
            raise SystemExit(f"{RUNBOOK}: {match[1]} is not an alert of {ALERTS.name}")
        pause = f"   # for {alert['for']}" if "for" in alert else ""
        return f"### {match[1]}\n\n```promql\n{alert['expr'].strip()}{pause}\n```\n"

    text = re.sub(r"^### (Tactus\w+)\n\n```promql\n.*?^```\n", entry, text, flags=re.MULTILINE | re.DOTALL)
    missing = [name for name in described["alerts"] if f"### {name}\n" not in text]
    if missing:
        raise SystemExit(f"{RUNBOOK}: no entry for {', '.join(missing)}")
    return text


class Plain(yaml.SafeDumper):
    """No anchors; several lines as a block."""

    def ignore_aliases(self, _):
        return True


Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def files():
    """Path -> text of everything that is written."""
    out = {}
    for name, described in yaml.safe_load(DASHBOARDS.read_text()).items():
        text = json.dumps(dashboard(name, described), indent=1, ensure_ascii=False)
        out[DASHBOARDS.parent / "dashboards" / f"{name}.json"] = text + "\n"
    described = yaml.safe_load(ALERTS.read_text())
    contents = {"rules.yaml": rules(described)}
    # All rules are evaluated at each step of each test: what looks at a week has longer steps, and a file of its own.
    for name, minutes in (("rules.test.yaml", 1), ("rules.week.test.yaml", 15)):
        tests = [unit_test(key, alert) for key, alert in described["alerts"].items() if alert["test"].get("interval", 1) == minutes]
        contents[name] = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{minutes}m", "tests": tests}
    for name, content in contents.items():
        out[ALERTS.parent / name] = NOTE + yaml.dump(content, Dumper=Plain, sort_keys=False, width=1000)
    # The chart has copies: it is installed without the rest.
    for path in [path for path in out if path.name == "rules.yaml" or path.suffix == ".json"]:
        out[REPOSITORY / "helm/tactus/files" / path.name] = out[path]
    path = REPOSITORY / RUNBOOK
    out[path] = runbook(path.read_text(), described)
    return out


def main():
    wrong = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path.relative_to(REPOSITORY)} is not up to date: make monitoring" for path in wrong) or 0)
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files()[path])
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
