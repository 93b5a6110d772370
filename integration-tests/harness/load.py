"""Load that remembers what was acknowledged, and questions whose answers it checks.

What holds of every answer that is not marked as partial, whatever happens to the cluster: each span that was
acknowledged before the question is there, none twice, and none that was never sent."""
import collections
import contextlib
import http.client
import json
import os
import random
import select
import struct
import threading
import time

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from . import answers, otlp
from .cluster import Balancer
from .waiting import eventually


class Template:
    """A request body of `traces` x `spans` spans; only ids and times change from one request to the next."""

    def __init__(self, traces, spans, service="load", resource=None, padding=40):
        marks = [struct.pack(">8sQ", b"\xfa\xceTRACE\xfe", t) for t in range(traces)]
        ids = [[struct.pack(">4sHH", b"\xfaSP\xfe", t, s) for s in range(spans)] for t in range(traces)]
        start, end = 0x1122334455667788, 0x1122334455667799
        members = []
        for t, mark in enumerate(marks):
            for s, span_id in enumerate(ids[t]):
                parent = {"parent_span_id": ids[t][0]} if s else {}
                span = otlp.span(mark, span_id, name=f"op-{s}", attributes={"n": s, "padding": "p" * padding}, **parent)
                span.start_time_unix_nano, span.end_time_unix_nano = start, end
                members.append(span)
        body = otlp.export(*members, service=service, resource=resource).SerializeToString()
        self.body, self.traces, self.spans = body, traces, spans
        self.trace_places = [places(body, mark) for mark in marks]
        self.span_places = [[places(body, one) for one in row] for row in ids]
        self.starts, self.ends = (places(body, struct.pack("<Q", value)) for value in (start, end))

    def fill(self, trace_ids, start):
        """(body, trace id in hex -> span ids in hex) with these traces and new span ids; `start` in nanoseconds."""
        body, made = bytearray(self.body), {}
        for t, trace_id in enumerate(trace_ids):
            for place in self.trace_places[t]:
                body[place:place + 16] = trace_id
            fresh = os.urandom(8 * self.spans)
            for s, where in enumerate(self.span_places[t]):
                for place in where:
                    body[place:place + 8] = fresh[8 * s:8 * s + 8]
            made.setdefault(trace_id.hex(), []).extend(fresh[8 * s:8 * s + 8].hex() for s in range(self.spans))
        for all_places, value in ((self.starts, start), (self.ends, start + 5 * otlp.MILLISECOND)):
            packed = struct.pack("<Q", value)
            for place in all_places:
                body[place:place + 8] = packed
        return bytes(body), made


def places(body, mark):
    found, at = [], body.find(mark)
    while at >= 0:
        found.append(at)
        at = body.find(mark, at + 1)
    assert found
    return found


def is_closed(connection):
    """Whether the server has closed a connection that was idle: clients look before they send."""
    poll = select.poll()  # knows no highest descriptor
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


class Load:
    """Clients that push until they are stopped. A slice is what one question is about: a number of requests that
    follow each other. One trace of each request goes on in the next one, so that its parts meet in different places.

    What a fault makes of requests is remembered, not fatal: a request without a good answer may have been stored or not."""

    def __init__(self, cluster, rate=12, clients=3, traces=4, spans=4, tenant=None, skew=0, slice_requests=25, timeout=8):
        self.cluster, self.rate, self.clients, self.tenant, self.skew = cluster, rate, clients, tenant, skew
        self.name = os.urandom(4).hex()
        self.slice_requests, self.timeout, self.traces, self.spans = slice_requests, timeout, traces, spans
        self.balancer = Balancer(lambda: cluster.of("distributor"))
        self.lock = threading.Lock()
        self.sent = collections.defaultdict(dict)          # slice -> trace id -> set of span ids
        self.acknowledged = collections.defaultdict(dict)
        self.spread = set()  # traces whose spans came by two requests
        self.requests = 0
        self.good, self.refused, self.broken, self.latencies = [], [], [], []
        self.begun = time.time()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]

    # --- what happened -------------------------------------------------------------------------------------------

    def slices(self):
        with self.lock:
            return sorted(self.acknowledged)

    def snapshot(self, of, number):
        with self.lock:
            return {trace: frozenset(spans) for trace, spans in of[number].items()}

    def count(self, of):
        with self.lock:
            return sum(len(spans) for traces in of.values() for spans in traces.values())

    def failures(self, since=0.0):
        return [failure for failure in [*self.refused, *self.broken] if failure[0] >= since]

    def good_since(self, when):
        return sum(1 for at in reversed(self.good[-2000:]) if at >= when)

    def report(self):
        kinds = collections.Counter(what for _, what in [*self.refused, *self.broken])
        latencies = sorted(self.latencies) or [0]
        return (f"{len(self.good)} pushes acknowledged ({self.count(self.acknowledged)} spans), {dict(kinds)}, "
                f"p50 {1000 * latencies[len(latencies) // 2]:.0f} ms, p99 {1000 * latencies[len(latencies) * 99 // 100]:.0f} ms")

    # --- pushing -------------------------------------------------------------------------------------------------

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def run_until(self, acknowledged, timeout=60):
        """Waits until so many more spans are acknowledged."""
        wanted = self.count(self.acknowledged) + acknowledged
        eventually(lambda: self.count(self.acknowledged) >= wanted, f"{acknowledged} spans acknowledged: {self.report()}", timeout)
        return self

    def _run(self, _number):
        connections, templates, goes_on = {}, {}, []
        period = self.clients / self.rate
        due = time.monotonic()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + period, time.monotonic() - 1)
            with self.lock:
                number = self.requests // self.slice_requests
                self.requests += 1
            template = templates.get(number)
            if template is None:
                templates.clear()
                template = templates[number] = Template(
                    self.traces, self.spans, resource={"run": self.name, "slice": number})
                goes_on = []
            self.spread.update(trace.hex() for trace in goes_on)
            fresh = [os.urandom(16) for _ in range(self.traces - len(goes_on))]
            body, made = template.fill(goes_on + fresh, time.time_ns() + self.skew * 10**9)
            goes_on = fresh[-1:]
            self._remember(self.sent, number, made)
            if self._push(connections, body):
                self._remember(self.acknowledged, number, made)
        for connection in connections.values():
            connection.close()

    def _remember(self, where, number, made):
        with self.lock:
            for trace, spans in made.items():
                where[number].setdefault(trace, set()).update(spans)

    def _push(self, connections, body):
        begun = time.monotonic()
        nodes = self.balancer.pick()
        headers = {"Content-Type": "application/x-protobuf", **self.cluster.headers}
        if self.tenant:
            headers["X-Scope-OrgID"] = self.tenant
        for node in nodes:
            connection = connections.get(node.name)
            if connection is not None and is_closed(connection):
                connections.pop(node.name).close()
                connection = None
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(node.address, node.otlp_http_port, timeout=self.timeout)
                    connection.connect()
                    connections[node.name] = connection
            except OSError:
                continue  # nobody took the request: the next one may
            try:
                connection.request("POST", "/v1/traces", body, headers)
                response = connection.getresponse()
                answer = response.read()
            except Exception as error:  # noqa: BLE001  whatever it is: nobody knows what became of the request
                connections.pop(node.name).close()
                self._note(self.broken, type(error).__name__)
                return False
            if response.getheader("Connection", "").lower() == "close":
                connections.pop(node.name).close()
            if response.status != 200:
                text = answer[-160:].decode(errors="replace")
                self._note(self.refused, f"{response.status} {text}")
                return False
            if ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans:
                self._note(self.refused, "partial success")
                return False
            self.good.append(time.time())
            self.latencies.append(time.monotonic() - begun)
            return True
        self._note(self.broken, "no distributor is ready")
        return False

    def _note(self, where, what):
        where.append((time.time(), what))


# --- questions -------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """A query that was answered with an error, or not at all."""


class Wrong(AssertionError):
    """An answer that is not marked as partial, and false."""


class Asker:
    """Asks ready query-frontends in turn."""

    def __init__(self, cluster, tenant=None, timeout=15):
        self.balancer = Balancer(lambda: cluster.of("query-frontend"))
        self.session, self.timeout = requests.Session(), timeout
        self.headers = {"Accept": "application/json", **cluster.headers, **({"X-Scope-OrgID": tenant} if tenant else {})}

    def get(self, path, node=None, **params):
        """(JSON, whether it is marked as partial)."""
        last = "no query-frontend is ready"
        for target in [node] if node else self.balancer.pick():
            try:
                response = self.session.get(target.url + path, params=params, headers=self.headers, timeout=self.timeout)
            except requests.ConnectionError as error:
                last = f"{target.name}: {type(error).__name__} {error}"
                if not target.is_running() or not target.ready():
                    continue
                raise Failed(last) from None
            except requests.RequestException as error:
                raise Failed(f"{target.name}: {type(error).__name__}") from None
            if response.status_code != 200:
                raise Failed(f"{target.name}: {response.status_code} {response.text[:300]}")
            said = response.json()
            partial = response.headers.get("X-Tactus-Partial", "").lower() == "true" or said.get("status") == "PARTIAL"
            return said, partial
        raise Failed(last)

    def trace(self, trace_id, node=None):
        """(span ids in the order of the answer, partial)."""
        said, partial = self.get(f"/api/v2/traces/{trace_id}", node)
        return [span_id for span_id, _ in answers.spans(said.get("trace") or {})], partial

    def search(self, query, window, node=None):
        """(trace id -> list of span ids, partial)."""
        said, partial = self.get("/api/search", node, q=query, limit=100_000, spss=100, **window)
        found = {}
        for trace in said.get("traces", []):
            trace_id = trace["traceID"].rjust(32, "0")
            if trace_id in found:
                raise Wrong(f"{trace_id} stands twice in an answer")
            found[trace_id] = [span["spanID"].rjust(16, "0") for s in trace.get("spanSets") or [] for span in s["spans"]]
        return found, partial

    def counted(self, query, window, node=None):
        """(spans that a metrics query counts, partial)."""
        said, partial = self.get("/api/metrics/query", node, q=f"{query} | count_over_time()", **window)
        return sum(float(series.get("value", 0)) for series in said["series"]), partial


KINDS = ("trace", "search", "count")


class Questions:
    """Asks about a load while it runs, and says of each answer whether it is right."""

    def __init__(self, load, asker=None):
        self.load, self.asker = load, asker or Asker(load.cluster, load.tenant)

    def window(self):
        start = int(self.load.begun) + min(0, self.load.skew) - 30
        return {"start": start, "end": int(time.time()) + max(0, self.load.skew) + 30}

    def query(self, number):
        return f'{{ resource.run = "{self.load.name}" && resource.slice = {number} }}'

    def ask(self, kind, number, node=None, trace_id=None):
        """Asks about one slice; returns whether the answer is whole. Raises Wrong or Failed."""
        load = self.load
        before = load.snapshot(load.acknowledged, number)
        if kind == "trace":
            if not before and trace_id is None:
                return True
            trace_id = trace_id or random.choice(sorted(before))
            found, partial = self.asker.trace(trace_id, node)
            self.compare(trace_id, found, before.get(trace_id, ()), load.snapshot(load.sent, number)[trace_id], partial)
        elif kind == "search":
            answer, partial = self.asker.search(self.query(number), self.window(), node)
            sent = load.snapshot(load.sent, number)
            for foreign in answer.keys() - sent.keys():
                raise Wrong(f"{foreign} was never sent")
            for trace_id in sent:
                found, wanted = answer.get(trace_id, []), before.get(trace_id, ())
                if trace_id in load.spread and found:
                    wanted = ()  # a search shows what the best source of a trace has
                self.compare(trace_id, found, wanted, sent[trace_id], partial)
        else:
            answer, partial = self.asker.counted(self.query(number), self.window(), node)
            low = sum(len(spans) for spans in before.values())
            high = sum(len(spans) for spans in load.snapshot(load.sent, number).values())
            if answer > high or answer < low and not partial:
                self.explain(number, node)
                raise Wrong(f"count of slice {number}: {answer}, acknowledged {low}, sent {high}, partial {partial}")
        return not partial

    def explain(self, number, node):
        """Prints how the same query is run a moment later."""
        with contextlib.suppress(Failed):
            said, _ = self.asker.get(
                "/api/metrics/query", node, q=f"{self.query(number)} | count_over_time()", explain="true", **self.window())
            print(f"{time.time():.2f} a wrong count; asked again with explain: {json.dumps(said)[:20_000]}")

    def compare(self, trace_id, found, acknowledged, sent, partial):
        """A partial answer may lack spans; no answer may repeat or invent one."""
        if len(found) != len(set(found)):
            raise Wrong(f"trace {trace_id}: {len(found)} spans, {len(set(found))} different")
        if extra := set(found) - sent:
            raise Wrong(f"trace {trace_id}: spans that were never sent: {sorted(extra)[:3]}")
        missing = set(acknowledged) - set(found)
        if missing and not partial:
            raise Wrong(f"trace {trace_id}: {len(missing)} of {len(acknowledged)} acknowledged spans are missing: {sorted(missing)[:3]}")


class Prober(threading.Thread):
    """Asks one question after the other while things happen, about old and new slices."""

    def __init__(self, load, pause=0.05):
        super().__init__(daemon=True)
        self.load, self.pause, self.questions = load, pause, Questions(load)
        self.stopping = threading.Event()
        self.right, self.partial, self.failed, self.wrong = [], [], [], []

    def run(self):
        while not self.stopping.wait(self.pause):
            slices = self.load.slices()
            if not slices:
                continue
            number = slices[-1] if random.random() < 0.5 else random.choice(slices)
            kind = random.choice(KINDS)
            begun = time.time()
            try:
                whole = self.questions.ask(kind, number)
                (self.right if whole else self.partial).append((begun, time.time(), kind))
            except Failed as error:
                self.failed.append((begun, time.time(), f"{kind}: {error}"))
            except Wrong as error:
                self.wrong.append((begun, time.time(), f"{kind}: {error}"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        self.join(60)

    def right_since(self, when):
        return sum(1 for begun, _, _ in self.right if begun >= when)

    def await_right(self, since, count=6, timeout=60):
        """Whole answers to so many questions that were asked after `since`, with nothing else between them."""

        def condition():
            troubles = [begun for begun, _, _ in [*self.partial, *self.failed] if begun >= since]
            return self.right_since(max([since, *troubles])) >= count

        eventually(condition, f"whole answers again: {self.report()}", timeout)

    def troubles(self, since):
        """When answers came that were errors or partial."""
        return [end for _, end, _ in [*self.partial, *self.failed] if end >= since]

    def report(self):
        kinds = collections.Counter(text[:150] for _, _, text in self.failed)
        return f"{len(self.right)} whole, {len(self.partial)} partial, {len(self.failed)} failed: {dict(kinds.most_common(4))}"


def check_all(load, by_id=40, timeout=60):
    """Every slice of a load that has ended: asked in all three ways until no answer is partial any more. A wrong answer
    fails at once."""
    questions = Questions(load)

    def whole(kind, number, trace_id=None):
        def condition():
            with contextlib.suppress(Failed):
                return questions.ask(kind, number, trace_id=trace_id)

        # Wrong is an AssertionError: let it through.
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{kind} of slice {number}: no whole answer within {timeout} s")
            time.sleep(0.05)

    for number in load.slices():
        for kind in ("search", "count"):
            whole(kind, number)
    everything = [(number, trace) for number in load.slices() for trace in load.snapshot(load.acknowledged, number)]
    for number, trace in random.sample(everything, min(by_id, len(everything))):
        whole("trace", number, trace)
