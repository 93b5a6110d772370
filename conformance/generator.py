#!/usr/bin/env python3
"""Checks the metrics-generator of a Tempo-compatible server against recorded results, through a real Prometheus.

    pip install opentelemetry-proto requests          # and a `prometheus` binary (2.40 or later, e.g. Debian's package)
    ./generator.py --server-cmd 'tactus -config.file={config}' [--prometheus /path/to/prometheus] [--only NAME,NAME]
                   [--jobs 4] [--cases FILE] [-v] [--keep DIR]

For every scenario of the cases file it starts the server (single binary, own ports and data directory, the scenario's
config and overrides), lets it remote-write through a recording proxy into one Prometheus, pushes the scenario's spans
over OTLP/HTTP with times relative to now, waits for two collections after the last edge can expire, and compares
  series     every series Prometheus holds for it: label set, value, count, sum, buckets, native buckets
  exemplars  which histogram slots got one, its label names, and that trace id and value are of an observation pushed
  wire       the remote-write requests: headers, label order, zero samples, timestamps, resends, retries
  own        the server's tempo_metrics_generator_* metrics
A server that runs already is checked with --otlp URL --url URL --only NAME --sink-port PORT; --print-config NAME shows
the config it needs. --base FILE (YAML, needs pyyaml) replaces the built-in server config; ${HTTP}, ${GRPC}, ${OTLP}
(ports) and ${DATA} (a directory) are substituted in it.

The recorded results are those of Grafana Tempo 2.10.8. Where that is defective, the entry holds the correct result,
a `note`, and Tempo's result under `tempo`; --as-recorded compares with the latter. A few scenarios (`beyond_tempo`) test
what Tempo does not do and Tactus does. A run needs 90-150 s a scenario,
--jobs at a time; scenarios of 7 minutes are left out without --slow. Ends with the line 'N passed, N failed' and exits 1
on a failure.
"""
import argparse
import base64
import collections
import concurrent.futures
import copy
import gzip
import hashlib
import http.server
import json
import math
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from dataset import set_attr  # noqa: E402

DROP = {"scenario", "__metrics_gen_instance"}  # labels of the harness and of the host
OWN_COUNTERS = {"spans_received_total", "spans_discarded_total", "metrics_generation_skipped_processor_pushes_total",
                "registry_series_limited_total", "registry_entities_limited_total", "registry_collections_failed_total",
                "processor_service_graphs_edges", "processor_service_graphs_expired_edges", "processor_service_graphs_dropped_spans"}
OWN_GAUGES = {"registry_active_series", "registry_max_active_series", "registry_active_entities",
              "registry_max_active_entities", "active_processors"}
REQUIRED = {"content-encoding": "snappy", "content-type": "application/x-protobuf", "x-prometheus-remote-write-version": "0.1.0"}
SINGLE = "single-tenant"
MINUTE = 60_000


# --- remote write on the wire -------------------------------------------------------------------------------------

def unsnappy(b):
    """Snappy block format."""
    size, i = varint(b, 0)
    out = bytearray()
    while i < len(b):
        tag, i = b[i], i + 1
        n = (tag >> 2) + 1
        if tag & 3 == 0:
            if n > 60:
                extra, n = n - 60, int.from_bytes(b[i:i + n - 60], "little") + 1
                i += extra
            out += b[i:i + n]
            i += n
            continue
        if tag & 3 == 1:
            n, offset, i = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | b[i], i + 1
        else:
            width = 2 if tag & 3 == 2 else 4
            offset, i = int.from_bytes(b[i:i + width], "little"), i + width
        for _ in range(n):
            out.append(out[-offset])
    if len(out) != size:
        raise ValueError("snappy: wrong length")
    return bytes(out)


def varint(b, i):
    value = shift = 0
    while True:
        value, shift, i = value | (b[i] & 127) << shift, shift + 7, i + 1
        if b[i - 1] < 128:
            return value, i


def fields(b):
    """Protobuf fields in order: (number, value); 64-bit values as bytes."""
    i = 0
    while i < len(b):
        key, i = varint(b, i)
        if key & 7 == 0:
            value, i = varint(b, i)
        else:
            n = 8 if key & 7 == 1 else 4
            if key & 7 == 2:
                n, i = varint(b, i)
            value, i = b[i:i + n], i + n
        yield key >> 3, value


def double(b):
    return struct.unpack("<d", b)[0]


def zigzag(n):
    return n >> 1 ^ -(n & 1)


def signed(n):
    return n - (1 << 64) if n >> 63 else n


def packed(v):
    i = 0
    while i < len(v):
        n, i = varint(v, i)
        yield zigzag(n)


def label_pairs(values):
    out = []
    for v in values:
        d = dict(fields(v))
        out.append((d.get(1, b"").decode(), d.get(2, b"").decode()))
    return out


def sample(b):
    d = dict(fields(b))
    return signed(d.get(2, 0)), double(d[1]) if 1 in d else 0.0


def native(b):
    """A Histogram message: timestamp and the decoded parts."""
    d, spans, deltas, counts = {}, [], [], []
    for n, v in fields(b):
        if n == 11:
            s = dict(fields(v))
            spans.append((zigzag(s.get(1, 0)), s.get(2, 0)))
        elif n == 12:
            deltas += packed(v) if isinstance(v, bytes) else [zigzag(v)]
        elif n == 13:
            counts += [double(v[i:i + 8]) for i in range(0, len(v), 8)]
        else:
            d[n] = v
    if deltas:
        total = 0
        for x in deltas:
            total += x
            counts.append(total)
    index, i, buckets = 0, 0, {}
    for offset, length in spans:
        index += offset
        for _ in range(length):
            if counts[i]:
                buckets[str(index)] = counts[i]
            index, i = index + 1, i + 1
    return signed(d.get(15, 0)), {
        "count": d[1] if 1 in d else double(d.get(2, bytes(8))), "sum": double(d.get(3, bytes(8))), "schema": zigzag(d.get(4, 0)),
        "zero_threshold": double(d.get(5, bytes(8))), "zero_count": d[6] if 6 in d else double(d.get(7, bytes(8))), "buckets": buckets,
        "empty": not spans}


def write_request(body):
    """-> [(label pairs, samples, exemplars, histograms)], other field numbers seen"""
    series, other = [], set()
    for n, v in fields(body):
        if n != 1:
            other.add(n)
            continue
        parts = collections.defaultdict(list)
        for k, x in fields(v):
            parts[k].append(x)
        exemplars = []
        for e in parts[3]:
            f = list(fields(e))
            d = dict(f)
            exemplars.append((signed(d.get(3, 0)), label_pairs(x for k, x in f if k == 1), double(d[2]) if 2 in d else 0.0))
        series.append((label_pairs(parts[1]), [sample(x) for x in parts[2]], exemplars, [native(x) for x in parts[4]]))
    return series, other


class Sink:
    """Takes remote-write requests at /<scenario>/..., keeps them, forwards them to Prometheus, or answers what the
    scenario's fault plan says."""

    def __init__(self, port, forward):
        self.seen, self.faults, self.lock = collections.defaultdict(list), {}, threading.Lock()
        self.ticks, self.by = collections.defaultdict(set), {}  # (scenario, tenant): timestamps; scenario: tenant label
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b""
                    while n := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(n)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                status, extra = sink.take(self.path, self.headers, body, forward)
                self.send_response(status)
                for k, v in extra.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body, forward):
        scenario = path.split("/")[1]
        h = {k.lower(): v for k, v in headers.items()}
        r = {"time": time.time(), "path": path, "headers": h, "hash": hashlib.md5(body).hexdigest(), "error": None, "status": 0}
        with self.lock:
            plan = self.faults.get(scenario) or []
            fault = plan.pop(0) if plan else 0
            self.seen[scenario].append(r)
        try:
            r["series"], r["other"] = write_request(unsnappy(body))
        except Exception as e:
            r["series"], r["other"], r["error"] = [], set(), f"{type(e).__name__}: {e}"
        if fault:
            status, extra = (fault, {}) if isinstance(fault, int) else (fault["status"], {"Retry-After": str(fault["retry_after"])})
        else:
            try:
                p = requests.post(forward + "/api/v1/write", data=body, timeout=30, headers={k: v for k, v in h.items() if k.startswith(("content-e", "content-t", "x-", "user"))})
                status, extra = p.status_code, {}
                if status >= 300:
                    r["error"] = f"Prometheus answered {status}: {p.text[:200]}"
            except requests.RequestException as e:
                status, extra, r["error"] = 503, {}, str(e)
        with self.lock:
            r["status"] = status
            if status < 300:
                for labels, samples, _, histograms in r["series"]:
                    self.ticks[scenario, tenant_of(labels, self.by.get(scenario))].update(ts for ts, _ in samples + histograms if ts % MINUTE != MINUTE - 1000)
        return status, extra


def tenant_of(labels, by):
    return dict(labels).get(by, SINGLE)


# --- the pushed spans ---------------------------------------------------------------------------------------------

def decode_attr(v):
    if isinstance(v, dict):
        return base64.b64decode(v["$bytes"]) if list(v) == ["$bytes"] else {k: decode_attr(x) for k, x in v.items()}
    return [decode_attr(x) for x in v] if isinstance(v, list) else v


def add_attrs(dest, attrs):
    for k, v in (attrs.items() if isinstance(attrs, dict) else attrs):
        set_attr(dest, k, decode_attr(v))


def ns(base, ms):
    return base + round(ms * 1e6)


def export(scenario, push, base):
    req, groups = ExportTraceServiceRequest(), {}
    for d in push["spans"]:
        key = d["resource"], d.get("scope", "")
        if key not in groups:
            rs = req.resource_spans.add()
            add_attrs(rs.resource.attributes, scenario["resources"][d["resource"]])
            groups[key] = rs.scope_spans.add()
            groups[key].scope.name = d.get("scope", "")
        for _ in range(d.get("times", 1)):
            s = groups[key].spans.add(trace_id=bytes.fromhex(d["trace"]), span_id=bytes.fromhex(d["id"]), name=d["name"], kind=d["kind"],
                                      start_time_unix_nano=ns(base, d["start"]), end_time_unix_nano=ns(base, d["end"]),
                                      parent_span_id=bytes.fromhex(d.get("parent", "")), trace_state=d.get("state", ""))
            add_attrs(s.attributes, d.get("attributes", {}))
            if "status" in d:
                s.status.code, s.status.message = d["status"], d.get("message", "")
            for name, ms, attrs in d.get("events", []):
                add_attrs(s.events.add(name=name, time_unix_nano=ns(base, ms)).attributes, attrs)
            for trace, span, attrs in d.get("links", []):
                add_attrs(s.links.add(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(span)).attributes, attrs)
    return req.SerializeToString()


def observations(scenario):
    """(trace id without leading zeros, seconds) an exemplar may carry: durations, 0 for a virtual side, gaps between spans."""
    out, traces = set(), collections.defaultdict(list)
    for e in scenario["events"]:
        for d in e.get("spans", []):
            traces[d["trace"].lstrip("0")].append((round(d["start"] * 1e6), round(d["end"] * 1e6)))
    for t, spans in traces.items():
        out |= {(t, 0.0)} | {(t, round(max(e - s, 0) / 1e9, 9)) for s, e in spans}
        out |= {(t, round((s - e) / 1e9, 9)) for s, _ in spans for _, e in spans if s > e}
    return out


# --- normalising --------------------------------------------------------------------------------------------------

def num(v):
    v = float(v)
    return float(f"{v:.10g}") if math.isfinite(v) else str(v)


def key(name, labels):
    return name + "{" + ",".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in sorted(labels.items())) + "}"


def sparse(buckets):
    """Cumulative buckets -> only those that hold more than the one before."""
    out, last = {}, 0.0
    for le, v in sorted(buckets.items(), key=lambda x: float(x[0])):
        if v != last:
            out[le], last = v, v
    return out


def split(metric):
    labels = {k: v for k, v in metric.items() if k not in DROP and k != "__name__"}
    name = metric["__name__"]
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix):
            return name, name.removesuffix(suffix), suffix, labels, labels.pop("le", None)
    return name, name, "", labels, None


def normal(matrix, exemplars, last_tick, by):
    """Prometheus' answers -> {series key: result}, {family: bucket bounds}, {series key: {slot: exemplar label names}};
    `by`: a label that tells tenants apart, or None"""
    series, bounds, found = {}, collections.defaultdict(set), collections.defaultdict(dict)
    for m in matrix:
        name, family, suffix, labels, le = split(m["metric"])
        last = (m.get("values") or m.get("histograms"))[-1]
        e = series.setdefault(key(family if suffix else name, labels), {})
        if last[0] < last_tick(m["metric"]) - 0.0005:
            e["gone"] = True  # no sample at the last collection
        if "histograms" in m:
            h = last[1]
            e["native"] = {"count": num(h["count"]), "sum": num(h["sum"]), "buckets": [[num(a), num(b), num(c)] for _, a, b, c in h.get("buckets", [])]}
        elif suffix == "_bucket":
            bounds[key(family, {by: labels[by]}) if by in labels else family].add(le)
            e.setdefault("buckets", {})[le] = num(last[1])
        else:
            e[suffix.lstrip("_") or "value"] = num(last[1])
    for e in series.values():
        if "buckets" in e:
            e["buckets"] = sparse(e["buckets"])
    for x in exemplars:
        name, family, suffix, labels, le = split(x["seriesLabels"])
        for e in x["exemplars"]:
            found[key(family if suffix else name, labels)][le or "native"] = sorted(e["labels"])
    return series, {k: sorted(v, key=float) for k, v in bounds.items()}, found


def wire_checks(scenario, seen):
    """name -> what is wrong, or None"""
    out = {}

    def check(name, problems):
        problems = list(problems)
        out[name] = f"{len(problems)}: {problems[0]}" if problems else None

    good = [r for r in seen if r["status"] < 300]
    check("decodes and is accepted", [r["error"] for r in seen if r["error"]] + ([] if good else ["no request arrived"]))
    check("headers", [f"{k}: {r['headers'].get(k)}" for r in seen for k, v in REQUIRED.items() if r["headers"].get(k) != v])
    want = set(scenario.get("org_headers", [None]))
    got = {r["headers"].get("x-scope-orgid") for r in seen}
    check("X-Scope-OrgID", [] if got == want else [f"expected {sorted(map(str, want))}, got {sorted(map(str, got))}"])
    for k, v in scenario.get("extra_headers", {}).items():
        check(f"header {k}", [str(r["headers"].get(k.lower())) for r in seen if r["headers"].get(k.lower()) != v])
    check("only time series", [f"field {sorted(r['other'])}" for r in seen if r["other"]])
    label_sets = {tuple(s[0]) for r in good for s in r["series"]}
    check("labels sorted, unique, not empty", [str(x)[:300] for x in label_sets if [k for k, _ in x] != sorted({k for k, _ in x}, key=str.encode) or not all(v for _, v in x)])
    instances = {dict(x).get("__metrics_gen_instance") for x in label_sets}
    check("one __metrics_gen_instance", [] if len(instances) == 1 and None not in instances else [str(instances)])

    points, exemplars, ticks = collections.defaultdict(list), collections.defaultdict(list), collections.defaultdict(collections.Counter)
    for r in good:
        for labels, samples, ex, histograms in r["series"]:
            tenant = tenant_of(labels, scenario.get("tenant_label")), r["path"]
            k = tenant, tuple(labels)
            points[k] += [(ts, v, False) for ts, v in samples] + [(ts, h, True) for ts, h in histograms]
            exemplars[k] += ex
            for ts, _ in samples + histograms:
                if ts % MINUTE != MINUTE - 1000:
                    ticks[tenant][ts] += 1

    def starts_at_zero(labels):
        name = dict(labels)["__name__"]
        return not name.endswith(("_info", "_sum")) and name not in scenario.get("gauges", [])

    zero, order, steady, rising, stale = [], [], [], [], []
    for (tenant, labels), p in points.items():
        times, name = [ts for ts, _, _ in p], key(dict(labels)["__name__"], dict(labels))[:200]
        first = next((ts for ts in times if ts % MINUTE != MINUTE - 1000), None)
        if first is None:
            zero.append(f"only a zero sample: {name}")
            continue
        zeros = [i for i, ts in enumerate(times) if ts % MINUTE == MINUTE - 1000]
        if scenario.get("lossy"):
            pass  # a first sample may be lost here
        elif p[0][2] or starts_at_zero(labels):
            if zeros[:1] != [0] or len(zeros) > 1 and not scenario.get("restarts"):
                zero.append(f"{name}: zero samples at {[times[i] for i in zeros]}, first at {first}")
            for i in zeros:
                if i + 1 == len(p) or times[i] != times[i + 1] // MINUTE * MINUTE - 1000:
                    zero.append(f"{name}: zero sample at {times[i]} before {times[i + 1:i + 2]}")
                elif (p[i][1]["count"] or not p[i][1]["empty"]) if p[i][2] else p[i][1]:
                    zero.append(f"{name}: not zero: {p[i][1]}")
        elif zeros:
            zero.append(f"{name}: has a zero sample")
        if times != sorted(set(times)):
            order.append(f"{name}: {times}")
        missing = [t for t in ticks[tenant] if first < t <= times[-1] and t not in times]
        if missing and not scenario.get("restarts") and not scenario.get("lossy"):
            steady.append(f"{name}: no sample at {missing}")
        values = [v["count"] if h else v for _, v, h in p]
        if not scenario.get("restarts") and any(b < a for a, b in zip(values, values[1:])):
            rising.append(f"{name}: {values}")
        if any(v != v for v in values):
            stale.append(name)
    check("zero samples", zero)
    check("timestamps rise", order)
    check("every series at every collection", steady)
    check("values do not fall", rising)
    check("no staleness markers", stale)
    known = observations(scenario)
    flat = [(k, e) for k, v in exemplars.items() for e in v]
    check("exemplar timestamps are collections", [f"{dict(k[1])['__name__']} {e}" for k, e in flat if e[0] not in ticks[k[0]]])
    check("exemplars are of pushed spans", [f"{dict(k[1])['__name__']} {e}" for k, e in flat if len(e[1]) != 1 or (e[1][0][1], round(e[2], 9)) not in known])
    again = collections.Counter((k, tuple(e[1]), e[2]) for k, e in flat)
    check("each exemplar once", [f"{n} times {dict(k[0][1])['__name__']} {k[1:]}" for k, n in again.items() if n > 1])
    for n in scenario.get("collection_counts", []):
        last = [ticks[t][max(ticks[t])] for t in ticks]
        check("series of a collection", [] if last == [n] else [f"expected {n}, got {last}"])
    if "faults" in scenario:
        retry_checks(scenario, seen, check)
    return out


def retry_checks(scenario, seen, check):
    """What follows each planned answer: the same body with Retry-Attempt, or another one without."""
    retried, dropped, waits, attempt = [], [], [], 0
    for fault, r, after in zip(scenario["faults"], seen, seen[1:]):
        status = fault if isinstance(fault, int) else fault["status"]
        if status >= 500 or status in scenario.get("retried", []):
            attempt += 1
            if after["hash"] != r["hash"] or after["headers"].get("retry-attempt") != str(attempt):
                retried.append(f"after {status}: same body {after['hash'] == r['hash']}, Retry-Attempt {after['headers'].get('retry-attempt')}, expected {attempt}")
            if not isinstance(fault, int) and after["time"] - r["time"] < fault["retry_after"] - 0.1:
                waits.append(f"{after['time'] - r['time']:.2f} s after Retry-After: {fault['retry_after']}")
            continue
        attempt = 0
        if after["hash"] == r["hash"] or "retry-attempt" in after["headers"]:
            dropped.append(f"after {status}: same body {after['hash'] == r['hash']}, Retry-Attempt {after['headers'].get('retry-attempt')}")
    if len(seen) <= len(scenario["faults"]):
        dropped.append(f"only {len(seen)} requests")
    check("batches are retried", retried)
    check("Retry-After is kept", waits)
    check("other answers end a batch", dropped)


# --- running ------------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def merge(a, b):
    for k, v in b.items():
        if isinstance(v, dict) and isinstance(a.get(k), dict):
            merge(a[k], v)
        else:
            a[k] = copy.deepcopy(v)
    return a


def base_config(ports, data):
    memory = {"kvstore": {"store": "inmemory"}}
    return {
        "server": {"http_listen_address": "127.0.0.1", "http_listen_port": ports["HTTP"], "grpc_listen_address": "127.0.0.1", "grpc_listen_port": ports["GRPC"]},
        "distributor": {"receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{ports['OTLP']}"}}}}},
        "ingester": {"lifecycler": {"address": "127.0.0.1", "min_ready_duration": "0s", "final_sleep": "0s", "ring": {**memory, "replication_factor": 1}}},
        "metrics_generator": {"ring": {**memory, "instance_addr": "127.0.0.1"}},
        "storage": {"trace": {"backend": "local", "local": {"path": data + "/blocks"}, "wal": {"path": data + "/wal"}}},
        "usage_report": {"reporting_enabled": False}}


def config_of(scenario, ports, data, sink_port, base_file):
    if base_file:
        import yaml
        text = open(base_file).read()
        for k, v in {**ports, "DATA": data}.items():
            text = text.replace("${" + k + "}", str(v))
        conf = yaml.safe_load(text)
    else:
        conf = base_config(ports, data)
    write = [{"url": f"http://127.0.0.1:{sink_port}/{scenario['name']}/write", "queue_config": {"batch_send_deadline": "1s"}}]
    merge(conf, {"metrics_generator": {"registry": {"collection_interval": "5s", "external_labels": {"scenario": scenario["name"]}},
                                       "storage": {"path": data + "/generator", "remote_write": write}}})
    snippet = json.loads(json.dumps(scenario["config"]).replace("${WRITE}", write[0]["url"]).replace("${DATA}", data))
    registry = snippet.get("metrics_generator", {}).get("registry", {})
    if registry.get("collection_interval") == "default":
        del registry["collection_interval"], conf["metrics_generator"]["registry"]["collection_interval"]
    if "tenant_overrides" in scenario:
        merge(conf, {"overrides": {"per_tenant_override_config": data + "/overrides.json", "per_tenant_override_period": "2s"}})
    return merge(conf, snippet)


class Run:
    def __init__(self, scenario, args, sink, prometheus, root):
        self.s, self.args, self.sink, self.prometheus = scenario, args, sink, prometheus
        self.dir = os.path.join(root, scenario["name"])
        os.makedirs(self.dir, exist_ok=True)
        self.http, self.tenants, self.process = requests.Session(), scenario.get("tenants", [SINGLE]), None
        self.url, self.otlp = args.url, args.otlp

    def start(self):
        ports = {k: free_port() for k in ("HTTP", "GRPC", "OTLP")}
        self.url, self.otlp = f"http://127.0.0.1:{ports['HTTP']}", f"http://127.0.0.1:{ports['OTLP']}"
        conf = config_of(self.s, ports, self.dir, self.sink.port, self.args.base)
        path = os.path.join(self.dir, "config.yaml")
        with open(path, "w") as f:
            json.dump(conf, f, indent=1)  # JSON is YAML
        if "tenant_overrides" in self.s:
            self.write_overrides(self.s["tenant_overrides"])
        with open(os.path.join(self.dir, "server.log"), "w") as log:
            self.process = subprocess.Popen(shlex.split(self.args.server_cmd.replace("{config}", path)), stdout=log, stderr=log, cwd=self.dir)
        deadline = time.time() + 90
        while time.time() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.http.get(self.url + "/ready", timeout=2).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.5)
        raise RuntimeError("the server does not start: " + open(os.path.join(self.dir, "server.log")).read()[-600:])

    def write_overrides(self, overrides):
        path = os.path.join(self.dir, "overrides.json")
        with open(path + ".new", "w") as f:
            json.dump({"overrides": overrides}, f)
        os.rename(path + ".new", path)

    def push(self, body, tenant, headers=None):
        h = {"Content-Type": "application/x-protobuf", **(headers or {})}
        if tenant != SINGLE:
            h["X-Scope-OrgID"] = tenant
        r = self.http.post(self.otlp + "/v1/traces", data=body, headers=h, timeout=30)
        r.raise_for_status()

    def own(self):
        """The server's own metrics of this scenario's tenants."""
        out = {}
        for name, labels, value in re.findall(r"^tempo_metrics_generator_(\w+)\{([^}]*)\} (\S+)$", self.http.get(self.url + "/metrics", timeout=30).text, re.M):
            if (name in OWN_COUNTERS or name in OWN_GAUGES) and any(f'tenant="{t}"' in labels for t in self.tenants):
                out[f"{name}{{{','.join(sorted(labels.split(',')))}}}"] = float(value)
        return out

    def warm_up(self):
        """Makes the server create every tenant, with a push that generates no metrics, and a minute begin after that:
        only then are the zero samples of new series sent (their time is the end of the minute before)."""
        span = {"resource": "w", "trace": "f" * 32, "id": "f" * 16, "name": "warm-up", "kind": 1, "start": -1, "end": 0}
        for tenant in self.tenants:
            for _ in range(20):
                body = export({"resources": {"w": {"service.name": "warm-up"}}}, {"spans": [span]}, time.time_ns())
                self.push(body, tenant, {"no-generate-metrics": ""})
                time.sleep(1)
                if not self.url or f'tempo_metrics_generator_spans_received_total{{tenant="{tenant}"}}' in self.http.get(self.url + "/metrics", timeout=30).text:
                    break
                if tenant in self.s.get("idle_tenants", []):
                    break
            else:
                raise RuntimeError(f"tenant {tenant} does not reach the generator")
        time.sleep(6)  # Tempo's sender may begin as late as 5 s after the tenant
        time.sleep(60 - time.time() % 60 + 0.5)

    def timeline(self):
        base, start = time.time_ns(), time.time()
        for e in self.s["events"]:
            time.sleep(max(0, start + e.get("at", 0) - time.time()))
            if "overrides" in e:
                self.write_overrides(e["overrides"])
                continue
            body = export(self.s, e, base)
            for tenant in e.get("tenants", self.tenants):
                self.push(body, tenant, e.get("headers"))
        return time.time()

    def settle(self, since):
        """Two collections, later than any edge can expire, of every collecting tenant."""
        after = (since + self.s.get("wait", 10) + 3.5) * 1000
        deadline = time.time() + self.s.get("wait", 10) + 75
        while time.time() < deadline:
            with self.sink.lock:
                done = all(sum(t > after for t in self.sink.ticks[self.s["name"], x]) >= 2 for x in self.s.get("collecting", self.tenants))
            if done:
                break
            time.sleep(0.5)
        while time.time() < deadline + 20:  # the requests of one collection come close together
            seen = self.sink.seen[self.s["name"]]
            if not seen or seen[-1]["status"] and time.time() - seen[-1]["time"] > 2.5:
                break
            time.sleep(0.2)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self.s.get("stop_timeout", 20))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def result(self):
        """Runs the scenario and returns what it showed, in the form of `expect`."""
        try:
            if self.args.server_cmd:
                self.start()
            self.warm_up()
            before = self.own() if self.url else {}
            self.sink.faults[self.s["name"]], self.sink.by[self.s["name"]] = list(self.s.get("faults", [])), self.s.get("tenant_label")
            begin = time.time()
            end = self.timeline()
            if self.s.get("stop"):
                time.sleep(1)
                self.stop()
            else:
                self.settle(end)
            own = {}
            if self.url and not self.s.get("stop"):
                for k, v in self.own().items():
                    v -= before.get(k, 0) if k.split("{")[0] in OWN_COUNTERS else 0
                    if v:
                        own[k] = v
            seen = [r for r in self.sink.seen[self.s["name"]] if r["status"]]
            return {**self.ask(begin), "own": own, "wire": wire_checks(self.s, seen)}
        finally:
            self.stop()

    def ask(self, begin):
        now, selector = time.time(), '{__name__=~".+",scenario="%s"}' % self.s["name"]
        r = requests.get(self.prometheus + "/api/v1/query", params={"query": f"{selector}[{int(now - begin) + 120}s]", "time": now}, timeout=60).json()
        if r["status"] != "success":
            raise RuntimeError(str(r))
        x = requests.get(self.prometheus + "/api/v1/query_exemplars", params={"query": selector, "start": begin - 120, "end": now}, timeout=60).json()
        by, matrix = self.s.get("tenant_label"), r["data"]["result"]
        last = collections.defaultdict(float)
        for m in matrix:
            t = m["metric"].get(by)
            last[t] = max(last[t], float((m.get("values") or m.get("histograms"))[-1][0]))
        series, bounds, exemplars = normal(matrix, x["data"], lambda metric: last[metric.get(by)], by)
        return {"series": series, "bounds": bounds, "exemplars": {} if self.s.get("lossy") else exemplars}


def close(a, b):
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b


def wanted(entry, as_recorded):
    """An expectation without its note: the correct result, or Tempo's. None: absent."""
    if isinstance(entry, dict) and "note" in entry:
        return entry["tempo"] if as_recorded else entry["expect"]
    return entry


def compare(expect, got, as_recorded):
    """-> [(check, what is wrong or None, note or None)]"""
    out = []
    for part in ("series", "bounds", "exemplars", "own"):
        want = expect[part]
        for k in sorted(want.keys() | got[part].keys()):
            note = want[k].get("note") if isinstance(want.get(k), dict) else None
            w, g = wanted(want.get(k), as_recorded), got[part].get(k)
            if w == "varies":
                continue
            if w is None and g is not None:
                out.append((f"{part} {k}", f"not expected, got {json.dumps(g)[:200]}", note))
            elif w is not None or k in want:
                out.append((f"{part} {k}", None if close(w, g) else f"expected {json.dumps(w)[:300]}, got {json.dumps(g)[:300]}", note))
    for k in sorted(expect["wire"].keys() | got["wire"].keys()):
        entry = expect["wire"].get(k)
        note = entry["note"] if entry else None
        if as_recorded and entry:  # fails there, always or sometimes
            if not entry["varies"]:
                out.append((f"wire {k}", None if got["wire"].get(k) else "passes, but failed when it was recorded", note))
        else:
            out.append((f"wire {k}", got["wire"].get(k, "not checked"), note))
    return out


def start_prometheus(binary, root):
    port, data = free_port(), os.path.join(root, "prometheus")
    os.makedirs(data, exist_ok=True)
    with open(os.path.join(data, "prometheus.yml"), "w") as f:
        f.write("storage: {exemplars: {max_exemplars: 100000}}\n")
    with open(os.path.join(data, "log"), "w") as log:
        p = subprocess.Popen([binary, f"--config.file={data}/prometheus.yml", f"--storage.tsdb.path={data}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
                              "--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage,native-histograms"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            if requests.get(url + "/-/ready", timeout=2).status_code == 200:
                return p, url
        except requests.RequestException:
            pass
        if p.poll() is not None:
            break
        time.sleep(0.25)
    p.kill()
    sys.exit("prometheus does not start: " + open(os.path.join(data, "log")).read()[-600:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--server-cmd", help="command that runs the server, with {config}")
    p.add_argument("--otlp", help="OTLP/HTTP address of a server that runs already")
    p.add_argument("--url", help="its HTTP address (for its own metrics)")
    p.add_argument("--prometheus", default="prometheus", help="the Prometheus binary")
    p.add_argument("--cases", default=os.path.join(HERE, "generator.json.gz"))
    p.add_argument("--base", help="server config to use instead of the built-in one")
    p.add_argument("--only", default="", help="scenario names, comma-separated")
    p.add_argument("--jobs", type=int, default=4, help="scenarios at a time")
    p.add_argument("--slow", action="store_true", help="the slow scenarios too")
    p.add_argument("--sink-port", type=int, default=0)
    p.add_argument("--print-config", metavar="NAME")
    p.add_argument("--as-recorded", action="store_true", help="expect Tempo's results where they are known to be wrong")
    p.add_argument("--keep", metavar="DIR", help="keep configs, logs and results there")
    p.add_argument("--record", help=argparse.SUPPRESS)
    p.add_argument("-v", action="store_true", help="print every check")
    a = p.parse_args()
    doc = json.load(gzip.open(a.cases, "rt") if a.cases.endswith(".gz") else open(a.cases))
    scenarios = [s for s in doc["scenarios"] if (s["name"] in a.only.split(",") if a.only else a.slow or not s.get("slow"))]
    if a.record or a.as_recorded:
        scenarios = [s for s in scenarios if not s.get("beyond_tempo") and not (a.as_recorded and s.get("unsteady"))]
    scenarios.sort(key=lambda s: not s.get("slow"))
    if a.print_config:
        s = next(s for s in doc["scenarios"] if s["name"] == a.print_config)
        print(json.dumps(config_of(s, {"HTTP": 3200, "GRPC": 9095, "OTLP": 4318}, "./data", a.sink_port, a.base), indent=1))
        if "tenant_overrides" in s:
            print("overrides file:", json.dumps({"overrides": s["tenant_overrides"]}, indent=1))
        return
    if not (a.server_cmd or a.otlp) or (a.otlp and len(scenarios) != 1) or not scenarios:
        p.error("give --server-cmd, or --otlp and one scenario (--only)")
    root = os.path.abspath(a.keep) if a.keep else tempfile.mkdtemp(prefix="generator-")
    os.makedirs(root, exist_ok=True)
    prometheus, url = start_prometheus(a.prometheus, root)
    passed = failed = known = 0
    try:
        sink = Sink(a.sink_port, url)
        with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
            futures = [(s, pool.submit(lambda s=s: Run(s, a, sink, url, root).result())) for s in scenarios]
            for s, future in futures:
                try:
                    got = json.loads(json.dumps(future.result()))
                except Exception as e:  # a scenario that can't be run is a failure, not the end
                    print(f"FAIL {s['name']}: {type(e).__name__}: {e}", flush=True)
                    failed, known = failed + 1, known + bool(s.get("beyond_tempo"))
                    continue
                if a.keep:
                    with open(os.path.join(root, s["name"], "result.json"), "w") as f:
                        json.dump(got, f, indent=1, sort_keys=True)
                if a.record:
                    s["recorded"] = got
                    print(s["name"], {k: len(v) for k, v in got.items()}, {k: v for k, v in got["wire"].items() if v}, flush=True)
                    continue
                checks = compare(s["expect"], got, a.as_recorded)
                bad = [c for c in checks if c[1]]
                for name, problem, note in checks:
                    if problem or a.v:
                        print("FAIL" if problem else "ok", s["name"], name, problem or "", f"[note: {note}]" if note else "")
                passed, failed, known = passed + len(checks) - len(bad), failed + len(bad), known + sum(bool(c[2]) for c in bad)
                print(f"  {s['name']}: {len(checks) - len(bad)} of {len(checks)}", flush=True)
    finally:
        prometheus.terminate()
        prometheus.wait()
        if not a.keep:
            shutil.rmtree(root, ignore_errors=True)
    if a.record:
        with open(a.record, "w") as f:
            json.dump(doc, f)
        return
    if known:
        print(f"{known} of the failures are where Tempo 2.10.8 itself is known to differ (see the notes)")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
