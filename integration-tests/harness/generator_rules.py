"""What a metrics generator makes of spans, as its documentation says it: slowly, one span after the other.

A result maps `name{label=value,…}` to a number."""
import collections
import dataclasses
import decimal
import math
import re

KINDS = [f"SPAN_KIND_{kind}" for kind in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")]
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
STATUSES = [f"STATUS_CODE_{status}" for status in ("UNSET", "OK", "ERROR")]
ERROR = 2
INTRINSICS = {"service": True, "span_name": True, "span_kind": True, "status_code": True, "status_message": False}
IDENTITY = ("service.name", "service.namespace", "service.instance.id")
SPAN_BUCKETS = [0.002 * 2**i for i in range(14)]
EDGE_BUCKETS = [0.1 * 2**i for i in range(8)]
DATABASES = ("db.namespace", "db.name", "db.system")


@dataclasses.dataclass
class Pushed:
    trace: bytes
    id: bytes
    parent: bytes
    name: str
    kind: int
    status: int
    message: str
    start: int
    end: int
    state: str
    attributes: dict
    resource: dict
    size: int = 0

    @property
    def seconds(self):
        return max(self.end - self.start, 0) / 1e9

    def of_span(self, key):
        return self.attributes.get(key)

    def of_resource(self, key):
        return self.resource.get(key)

    def of_either(self, key):
        """The resource's, and only without one the span's."""
        value = self.of_resource(key)
        return self.of_span(key) if value is None else value


def text(value):
    """A value as a label has it."""
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        digits = format(decimal.Decimal(repr(value)), "f")
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    if isinstance(value, list):
        return f"[{''.join(map(text, value))}]"
    if isinstance(value, dict):
        return "{" + "".join(f"{key}:{text(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def sanitized(name):
    return re.sub("[^a-zA-Z0-9_]", "_", name)


def label_of(name, taken=INTRINSICS):
    name = sanitized(name)
    return f"__{name}" if name in taken else name


def series(name, labels):
    return name + "{" + ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if value) + "}"


class Series(collections.defaultdict):
    """Sums by series."""

    def __init__(self):
        super().__init__(float)

    def add(self, name, labels, value):
        self[series(name, labels)] += value

    def observe(self, name, labels, bounds, value, weight):
        self.add(f"{name}_count", labels, weight)
        self.add(f"{name}_sum", labels, value * weight)
        for bound in [*bounds, math.inf]:
            shown = "+Inf" if bound == math.inf else text(float(bound))
            self.add(f"{name}_bucket", {**labels, "le": shown}, weight if value <= bound else 0)


# --- which spans count, and how much ---------------------------------------------------------------------------------

def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def holds(condition, match_type, span):
    key, wanted = condition["key"], condition["value"]
    fields = {"kind": KINDS[span.kind], "status": STATUSES[span.status], "name": span.name}
    if key in fields:
        value = fields[key]
    else:
        scope, name = key.split(".", 1)
        value = span.of_span(name) if scope == "span" else span.of_resource(name)
    if match_type == "regex":
        return isinstance(value, str) and re.search(wanted, value) is not None
    same_type = type(value) is type(wanted) or (is_number(value) and is_number(wanted))
    return same_type and value == wanted


def is_kept(policies, span):
    def sides(name):
        return [policy[name] for policy in policies if name in policy]

    def matches(side):
        return all(holds(condition, side["match_type"], span) for condition in side["attributes"])

    if any(map(matches, sides("exclude"))):
        return False
    if any(map(matches, sides("include_any"))):
        return True
    return all(map(matches, sides("include"))) if sides("include") else not sides("include_any")


def weight(settings, span):
    if settings["enable_tracestate_span_multiplier"]:
        threshold = re.search(r"(?:^|,)ot=(?:[^,]*;)?th:([0-9a-fA-F]{1,14})(?:[,;]|$)", span.state)
        if threshold:
            return 2**56 / (2**56 - int(threshold[1].ljust(14, "0"), 16))
    for value in (span.of_span(settings["span_multiplier_key"]), span.of_resource(settings["span_multiplier_key"])):
        if isinstance(value, float) and value > 0:
            return 1 / value
    return 1.0


# --- processors ------------------------------------------------------------------------------------------------------

def identity(span, settings):
    service, namespace, instance = (text(span.of_resource(key)) for key in IDENTITY)
    job = f"{namespace}/{service}" if service and namespace else service
    return {"job": job, "instance": instance if settings["enable_instance_label"] else ""}


def span_labels(span, settings):
    values = {
        "service": text(span.of_resource("service.name")), "span_name": span.name, "span_kind": KINDS[span.kind],
        "status_code": STATUSES[span.status], "status_message": span.message,
    }
    shown = {**INTRINSICS, **settings["intrinsic_dimensions"]}
    pairs = [(name, value) for name, value in values.items() if shown[name]]
    pairs += [(label_of(name), text(span.of_either(name))) for name in settings["dimensions"]]
    for mapping in settings["dimension_mappings"]:
        parts = [text(span.of_either(name)) for name in mapping["source_labels"]]
        pairs.append((label_of(mapping["name"]), mapping["join"].join(filter(None, parts))))
    if settings["enable_target_info"]:
        pairs += identity(span, settings).items()
    return {name: value for name, value in pairs if value}


def target_info(span, settings):
    """The labels of the resource; None if it has too little to tell."""
    own = {name: value for name, value in identity(span, settings).items() if value}
    left_out = {*IDENTITY, *settings["target_info_excluded_dimensions"]}
    taken = {*INTRINSICS, "job", "instance"}
    others = {label_of(key, taken): text(value) for key, value in span.resource.items() if key not in left_out and text(value)}
    return {**others, **own} if own and others else None


def span_metrics(spans, processors, settings, out):
    has = {part for part in ("count", "latency", "size") if {"span-metrics", f"span-metrics-{part}"} & set(processors)}
    for span in spans:
        if not has or not is_kept(settings["filter_policies"], span):
            continue
        labels, times = span_labels(span, settings), weight(settings, span)
        if "count" in has:
            out.add("traces_spanmetrics_calls_total", labels, times)
        if "latency" in has:
            bounds = settings.get("histogram_buckets", SPAN_BUCKETS)
            out.observe("traces_spanmetrics_latency", labels, bounds, span.seconds, times)
        if "size" in has:
            out.add("traces_spanmetrics_size_total", labels, span.size)
        if settings["enable_target_info"] and (info := target_info(span, settings)):
            out[series("traces_target_info", info)] = 1.0


def host_info(spans, identifiers, out):
    for span in spans:
        named = [(key, span.of_resource(key)) for key in identifiers]
        host = next(((key, value) for key, value in named if isinstance(value, str) and value), None)
        if host:
            out[series("traces_host_info", {"grafana_host_id": host[1], "host_source": host[0]})] = 1.0


class Edge:
    """A call, as far as its spans tell of it."""

    def __init__(self):
        self.client = self.server = self.peer = self.connection = ""
        self.client_seconds = self.server_seconds = 0.0
        self.client_end = self.server_start = 0
        self.failed, self.weight, self.dimensions = False, 1.0, {}

    def take(self, span, side, settings):
        service = text(span.of_resource("service.name"))
        self.connection = "messaging_system" if span.kind in (PRODUCER, CONSUMER) else ""
        self.weight, self.failed = weight(settings, span), self.failed or span.status == ERROR
        peers = [span.of_span(key) for key in settings["peer_attributes"]]
        self.peer = next((text(peer) for peer in peers if peer is not None), self.peer)
        prefix = f"{side}_" if settings["enable_client_server_prefix"] else ""
        taken = {"client", "server", "connection_type", *(["virtual_node"] if settings["enable_virtual_node_label"] else [])}
        for key in settings["dimensions"]:
            label = sanitized(prefix + key)
            if span.of_either(key) is not None and label not in taken:
                self.dimensions[label] = text(span.of_either(key))
        if side == "server":
            self.server, self.server_seconds, self.server_start = service, span.seconds, span.start
            return
        self.client, self.client_seconds, self.client_end = service, span.seconds, span.end
        databases = [span.of_either(key) for key in DATABASES]
        database = next((value for value in databases if value is not None), None)
        if database is not None:
            self.connection, self.server_seconds = "database", span.seconds
            self.server = database_host(span, text(database))

    def resolve(self, is_root):
        """Nothing comes any more. Returns which side was made up, or None if the call is not known."""
        self.connection = "virtual_node"
        if not self.client and is_root:
            self.client = self.peer or "user"
            return "client"
        if not self.server and self.client and self.peer:
            self.server = self.peer
            return "server"
        return None

    def record(self, settings, out, made_up=""):
        labels = {"client": self.client, "server": self.server, "connection_type": self.connection,
                  **{name: value for name, value in self.dimensions.items() if value}}
        if settings["enable_virtual_node_label"]:
            labels["virtual_node"] = made_up
        name, bounds = "traces_service_graph_request", settings.get("histogram_buckets", EDGE_BUCKETS)
        out.add(f"{name}_total", labels, self.weight)
        if self.failed:
            out.add(f"{name}_failed_total", labels, self.weight)
        out.observe(f"{name}_server_seconds", labels, bounds, self.server_seconds, self.weight)
        out.observe(f"{name}_client_seconds", labels, bounds, self.client_seconds, self.weight)
        queued = self.server_start - self.client_end
        if settings["enable_messaging_system_latency_histogram"] and self.connection == "messaging_system" and queued > 0:
            out.observe(f"{name}_messaging_system_seconds", labels, bounds, queued / 1e9, self.weight)


def database_host(span, otherwise):
    for key in ("peer.service", "server.address", "network.peer.address"):
        host = span.of_either(key)
        if host is not None:
            port = span.of_either("network.peer.port") if key == "network.peer.address" else None
            return text(host) if port is None else f"{text(host)}:{text(port)}"
    return otherwise


def service_graphs(spans, settings, out):
    waiting, refused = {}, set()
    for span in spans:
        if span.kind not in (SERVER, CLIENT, PRODUCER, CONSUMER) or not text(span.of_resource("service.name")):
            continue
        side, other = ("client", "server") if span.kind in (CLIENT, PRODUCER) else ("server", "client")
        key = (span.trace, span.id if side == "client" else span.parent)
        if not is_kept(settings["filter_policies"], span):
            if key[1]:
                refused.add((key, side))
                waiting.pop(key, None)
            continue
        if (key, other) in refused:
            continue
        edge = waiting.setdefault(key, Edge())
        edge.take(span, side, settings)
        if edge.client and edge.server:
            waiting.pop(key).record(settings, out)
    for key, edge in waiting.items():
        made_up = edge.resolve(is_root=not key[1])
        if made_up:
            edge.record(settings, out, made_up)


def generated(spans, processors, of_spans, of_edges, hosts):
    """The series of spans that came in this order."""
    out = Series()
    span_metrics(spans, processors, of_spans, out)
    if "service-graphs" in processors:
        service_graphs(spans, of_edges, out)
    if "host-info" in processors:
        host_info(spans, hosts, out)
    return dict(out)
