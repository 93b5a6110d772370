"""The dataset of the conformance cases."""
import gzip
import json
import sys
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .paths import CONFORMANCE


def requests_of(base):
    sys.path.insert(0, str(CONFORMANCE))
    import dataset
    described = json.loads(gzip.decompress((CONFORMANCE / "cases.json.gz").read_bytes()))["dataset"]
    return dataset.requests(described["seed"], described["traces"], base, 600)


def push_dataset(server):
    """Pushes it as if it had just happened, and flushes nothing. Its base time in seconds, and what was pushed."""
    base = int(time.time()) // 60 * 60
    pushed = list(requests_of(base))
    for request in pushed:
        server.must_push(request)
    return base, pushed


def parts_of_dataset(parts, part_of):
    """Its base time, if it has just happened, and its requests in `parts` lists: `part_of` says in which a span is."""
    base = int(time.time()) // 60 * 60
    return base, [[part for part in (part_of_request(request, lambda span: part_of(span) == number)
                                     for request in requests_of(base)) if part.resource_spans] for number in range(parts)]


def part_of_request(request, keeps):
    part = ExportTraceServiceRequest()
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            kept = [span for span in scope_spans.spans if keeps(span)]
            if kept:
                out = part.resource_spans.add(resource=resource_spans.resource)
                out.scope_spans.add(scope=scope_spans.scope).spans.extend(kept)
    return part
