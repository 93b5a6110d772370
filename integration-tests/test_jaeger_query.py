"""Jaeger's query APIs, as scripts, its UI, and a stock Jaeger in front use them: HTTP v1 and v3, gRPC, storage."""
import json
import time

import grpc
import pytest
import requests
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from harness import dialects, jaeger, otlp
from harness.dialects import COMPACT, TRACE
from harness.trip import MS, served
from harness.waiting import eventually


@pytest.fixture(scope="module", params=["live", "blocks"])
def trip(request, tmp_path_factory):
    """(server, trip): its spans are live, or in a block."""
    with served(tmp_path_factory.mktemp("jaeger"), in_blocks=request.param == "blocks") as running:
        yield running


def get(server, path, status=200, **params):
    answer = requests.get(f"http://127.0.0.1:{server.ports.query_http}{path}", params=params, timeout=20)
    assert answer.status_code == status, (path, params, answer.status_code, answer.text)
    return answer


def data(server, path, **params):
    body = get(server, path, **params).json()
    assert list(body) == ["data", "total", "limit", "offset", "errors"]
    assert body["errors"] is None, body
    return body["data"]


def found(server, **params):
    """Ids of the traces that a search of v1 finds."""
    return [trace["traceID"].rjust(32, "0") for trace in data(server, "/api/traces", **params)]


def test_services_and_operations(trip):
    server, _ = trip
    assert get(server, "/api/services").json() == {
        "data": ["bank", "mail", "shop"], "total": 3, "limit": 0, "offset": 0, "errors": None}
    assert sorted(data(server, "/api/services/shop/operations")) == ["GET /", "GET /buy", "charge", "send"]
    operations = data(server, "/api/operations", service="shop", spanKind="server")
    assert sorted(o["name"] for o in operations) == ["GET /", "GET /buy"]
    assert {o["spanKind"] for o in operations} == {"server"}
    assert get(server, "/api/operations", 400).json()["errors"][0]["msg"] == "parameter 'service' is required"


def test_search_by_everything(trip):
    server, trip = trip
    both = [trip.alone, trip.trace]
    for params, expected in [
        ({"service": "shop"}, both),
        ({"service": "shop", "limit": 1}, both[:1]),
        ({"service": "shop", "operation": "GET /buy"}, [trip.trace]),
        ({"service": "shop", "minDuration": "1s"}, [trip.alone]),
        ({"service": "shop", "maxDuration": "500ms"}, [trip.trace]),
        ({"service": "shop", "maxDuration": "0s"}, both),
        ({"service": "shop", "minDuration": "1s", "maxDuration": "0s"}, [trip.alone]),
        ({"service": "shop", "tags": '{"http.status_code":"500"}'}, [trip.trace]),
        ({"service": "shop", "tags": '{"http.status_code":200}'}, [trip.alone]),
        ({"service": "shop", "tag": "vip:true"}, [trip.trace]),
        ({"service": "shop", "tag": ["vip:true", "http.status_code:500"]}, [trip.trace]),
        ({"service": "shop", "tag": "region:us"}, [trip.alone]),
        ({"service": "shop", "tag": "resource.region:us"}, [trip.alone]),
        ({"service": "shop", "tag": "resource.vip:true"}, []),
        ({"service": "bank", "tags": '{"error":"true"}'}, [trip.trace]),
        ({"service": "bank", "tags": '{"error":"false"}'}, []),
        ({"service": "shop", "tags": '{"error":"true"}'}, []),
        ({"service": "bank", "tag": "amount:12.5"}, [trip.trace]),
        ({"service": "bank", "tag": "exception.type:Declined"}, [trip.trace]),
        ({"service": "bank", "tag": "span.kind:server"}, [trip.trace]),
        ({"service": "bank", "tag": "scope.name:lib-bank"}, [trip.trace]),
        ({"service": "nobody"}, []),
        ({"service": 'sh"op\\'}, []),
        ({"service": "shop", "lookback": "1h"}, both),
        ({"service": "shop", "start": trip.base // 1000 - 10**6, "end": trip.base // 1000 + 10**5}, [trip.trace]),
        ({"service": "shop", "start": 1, "end": 10**6}, []),
    ]:
        assert found(server, **params) == expected, params


def test_a_limit_counts_what_is_within_the_window(servers):
    """Traces of the same second after the window must not take the place of those within."""
    server = dialects.start(servers)
    base = (time.time_ns() // 10**9 - 30) * 10**9
    spans = [otlp.span(name=f"step {i}", start=base + i * 10 * MS, duration=MS) for i in range(60)]
    for form in ("live", "blocks"):
        if form == "live":
            server.must_push(otlp.export(*spans, service="order"))
        else:
            server.flush()
        window = {"start": (base + 100 * MS) // 1000, "end": (base + 200 * MS) // 1000}
        for limit, expected in ((3, [20, 19, 18]), (100, list(range(20, 9, -1)))):
            traces = data(server, "/api/traces", service="order", limit=limit, **window)
            assert [trace["spans"][0]["operationName"] for trace in traces] == [f"step {i}" for i in expected], (form, limit)


@pytest.mark.parametrize("flush", [False, True], ids=["live", "blocks"])
def test_what_answers_show_is_in_lists_and_found(servers, flush):
    server = dialects.start(servers)
    shown = {"words": ["a b", "c"], "numbers": [1, 2], "ratios": [0.5, 2.0]}
    span = otlp.span(name="", attributes=shown)
    server.must_push(otlp.export(span, otlp.span(name="other", attributes={"words": ["c"]}), service="odd"))
    if flush:
        server.flush()
    assert data(server, "/api/services/odd/operations") == ["empty-span-name", "other"]
    assert {one["name"] for one in data(server, "/api/operations", service="odd", spanKind="internal")} == {"empty-span-name", "other"}
    (trace,) = data(server, "/api/traces", service="odd", operation="empty-span-name")
    tags = {tag["key"]: tag["value"] for tag in trace["spans"][0]["tags"] if tag["key"] in shown}
    assert tags.keys() == shown.keys()
    for key, value in tags.items():
        assert found(server, service="odd", tags=json.dumps({key: value})) == [span.trace_id.hex()], (key, value)
        zipkin = requests.get(f"http://127.0.0.1:{server.ports.zipkin}/api/v2/traces", timeout=20, params={
            "serviceName": "odd", "annotationQuery": f"{key}={value}", "lookback": 3_600_000})
        assert [spans[0]["traceId"] for spans in zipkin.json()] == [span.trace_id.hex()], (key, value, zipkin.text)


@pytest.mark.parametrize("flush", [False, True], ids=["live", "blocks"])
def test_services_without_a_text_for_a_name_are_in_lists_and_found(servers, flush):
    server = dialects.start(servers)
    traces = {}
    for name, value in {"missing-service-name": None, "empty-service-name": "", "service-name-wrong-type": 5}.items():
        span = otlp.span(name="op", kind=otlp.Span.SPAN_KIND_SERVER)
        request = otlp.export(span, resource={"service.name": value})
        if value is None:
            del request.resource_spans[0].resource.attributes[:]
        server.must_push(request)
        traces[name] = span.trace_id.hex()
    if flush:
        server.flush()
    # Of blocks only what spans have is told.
    assert data(server, "/api/services") == sorted(traces.keys() - ({"missing-service-name"} if flush else set()))
    now = int(time.time() * 1000)
    for name, trace in traces.items():
        assert found(server, service=name) == [trace]
        assert data(server, f"/api/services/{name}/operations") == ["op"]
        (calls,) = get(server, "/api/metrics/calls", service=name, endTs=now, lookback=60_000, step=60_000, ratePer=60_000).json()["metrics"]
        assert calls["labels"] == [{"name": "service_name", "value": name}]
    s, unnamed = jaeger.storage_v1, [traces["empty-service-name"], traces["missing-service-name"]]
    in_storage = {"5": [traces["service-name-wrong-type"]], "OTLPResourceNoServiceName": sorted(unnamed)}
    with jaeger.channel(server.ports.storage_grpc) as channel:
        stub = jaeger.storage_v1_grpc.SpanReaderPluginStub(channel)
        assert list(stub.GetServices(s.GetServicesRequest()).services) == list(in_storage)
        for name, expected in in_storage.items():
            query = s.TraceQueryParameters(
                service_name=name, start_time_min=timestamp((now - 60_000) * MS), start_time_max=timestamp((now + 1_000) * MS), num_traces=9)
            ids = stub.FindTraceIDs(s.FindTraceIDsRequest(query=query)).trace_ids
            assert sorted(id.hex() for id in ids) == expected, name
    zipkin = f"http://127.0.0.1:{server.ports.zipkin}/api/v2"
    assert requests.get(f"{zipkin}/services", timeout=20).json() == [name.lower() for name in in_storage]
    for name, expected in in_storage.items():
        answer = requests.get(f"{zipkin}/traces", params={"serviceName": name.lower()}, timeout=20).json()
        assert sorted(spans[0]["traceId"] for spans in answer) == expected, name


def test_a_service_with_a_comma_is_one(servers):
    """The UI joins several with commas."""
    server = dialects.start(servers)
    traces = {name: otlp.span(name=name) for name in ("eu,us", "eu", "us")}
    for name, span in traces.items():
        server.must_push(otlp.export(span, service=name))
    for asked, names in (("eu,us", ["eu,us"]), ("us,eu", ["eu", "us"])):
        assert sorted(found(server, service=asked)) == sorted(traces[name].trace_id.hex() for name in names)
        assert data(server, "/api/services/" + requests.utils.quote(asked, safe="") + "/operations") == names


def test_wrong_parameters_are_named(trip):
    server, _ = trip
    for params, message in [
        ({"limit": 5}, "parameter 'service' is required"),
        ({"service": "shop", "tag": "x"}, "malformed 'tag' parameter, expecting key:value, received: x"),
        ({"service": "shop", "tag": ""}, "malformed 'tag' parameter, expecting key:value, received: "),
        ({"service": "shop", "limit": "abc"}, 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ({"service": "shop", "minDuration": "2s", "maxDuration": "1s"}, "'maxDuration' should be greater than 'minDuration'"),
        ({"service": "shop", "minDuration": "long"}, "unable to parse param 'minDuration'"),
        ({"service": "shop", "start": "yesterday"}, "unable to parse param 'start'"),
        ({"service": "shop", "tags": "{"}, "malformed 'tags' parameter"),
    ]:
        answer = get(server, "/api/traces", 400, **params)
        assert answer.headers["Content-Type"].startswith("text/plain")
        (error,) = answer.json()["errors"]
        assert error["code"] == 400 and message in error["msg"], error


def test_a_script_reads_durations(trip):
    server, trip = trip
    traces = data(server, "/api/traces", service="shop", limit=20)
    slow = sorted((t for t in traces if t["duration"] > 1_000 * 1000), key=lambda t: t["duration"], reverse=True)
    assert [t["traceID"].rjust(32, "0") for t in slow] == [trip.alone]
    assert {t["startTime"] for t in traces} == {trip.base // 1000, (trip.base + 200 * MS) // 1000}


def test_a_trace_as_the_ui_draws_it(trip):
    server, trip = trip
    (trace,) = data(server, f"/api/traces/{trip.trace}")
    services = {name: process["serviceName"] for name, process in trace["processes"].items()}
    spans = {span["operationName"]: span for span in trace["spans"]}
    assert {services[span["processID"]] for span in trace["spans"]} == {"shop", "bank", "mail"}
    charge = spans["/charge"]
    assert charge["references"] == [{"refType": "CHILD_OF", "traceID": trace["traceID"], "spanID": spans["charge"]["spanID"]}]
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in charge["tags"]}
    assert tags["amount"] == ("float64", 12.5)
    assert tags["big"] == ("int64", str(2**60))
    assert tags["error"] == ("bool", True)
    assert tags["otel.status_description"] == ("string", "card declined")
    assert tags["span.kind"] == ("string", "server")
    (log,) = charge["logs"]
    assert log["timestamp"] == (trip.base + 21 * MS) // 1000
    assert {f["key"]: f["value"] for f in log["fields"]} == {"event": "exception", "exception.type": "Declined"}
    assert get(server, "/api/traces/ff", 404).json()["errors"] == [{"code": 404, "msg": "trace not found"}]
    get(server, "/api/traces/xyz!", 400)
    assert get(server, "/api/nothing", 404).text == "404 page not found\n"


def test_the_check_span_byte_for_byte(servers):
    server = dialects.start(servers)
    dialects.datagram(server.ports.compact, COMPACT)
    eventually(lambda: server.trace(TRACE), "the span is stored")
    expected = {
        "data": [{
            "traceID": TRACE,
            "spans": [{
                "traceID": TRACE, "spanID": "0000000000000003", "operationName": "op", "references": [], "startTime": 1700000000000000,
                "duration": 1500, "tags": [
                    {"key": "span.kind", "type": "string", "value": "server"},
                    {"key": "otel.status_code", "type": "string", "value": "ERROR"},
                    {"key": "error", "type": "bool", "value": True}],
                "logs": [], "processID": "p1", "warnings": None}],
            "processes": {"p1": {"serviceName": "svc", "tags": []}}, "warnings": None, "startTime": 1700000000000000, "duration": 1500}],
        "total": 0, "limit": 0, "offset": 0, "errors": None}
    for form in (TRACE, "10000000000000002", "AAAAAAAAAAEAAAAAAAAAAg=="):
        assert get(server, "/api/traces/" + requests.utils.quote(form, safe="")).text == json.dumps(expected, separators=(",", ":")), form
    v3 = get(server, f"/api/v3/traces/{TRACE}").json()["result"]["resourceSpans"]
    (span,) = v3[0]["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["kind"], span["startTimeUnixNano"], span["status"]) == (TRACE, 2, "1700000000000000000", {"code": 2})


def test_dependencies(trip):
    server, _ = trip
    now = int(time.time() * 1000)
    links = data(server, "/api/dependencies", endTs=now + 60_000, lookback=3_600_000)
    assert [(l["parent"], l["child"], l["callCount"]) for l in links] == [("shop", "bank", 1), ("shop", "mail", 1)]


def test_v3(trip):
    server, trip = trip
    assert get(server, "/api/v3/services").json() == {"services": ["bank", "mail", "shop"]}
    operations = get(server, "/api/v3/operations", service="bank").json()["operations"]
    assert operations == [{"name": "/charge", "spanKind": "server"}]

    def rfc3339(seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(trip.base // 10**9 + seconds))

    window = {"query.startTimeMin": rfc3339(-60), "query.startTimeMax": rfc3339(60)}
    groups = get(server, "/api/v3/traces", **{"query.serviceName": "bank", **window}).json()["result"]["resourceSpans"]
    spans = [s for g in groups for scope in g["scopeSpans"] for s in scope["spans"]]
    assert {s["traceId"] for s in spans} == {trip.trace} and len(spans) == 5
    refused = get(server, "/api/v3/traces", 400, **{"query.serviceName": "bank"})
    assert refused.json()["error"]["message"] == "query.startTimeMin and query.startTimeMax are required"
    (summary,) = get(server, "/api/v3/trace-summaries", **{"query.serviceName": "bank", **window}).json()["summaries"]
    assert (summary["traceId"], summary["rootServiceName"], summary["rootOperationName"]) == (trip.trace, "shop", "GET /buy")
    assert (summary["spanCount"], summary["errorSpanCount"]) == (5, 1)
    named = {"query.service_name": "bank", "query.span_name": "not-there", **window}
    assert get(server, "/api/v3/trace-summaries", **named).json() == {"summaries": []}
    for last in "10":
        missing = get(server, "/api/v3/traces/" + "0" * 31 + last, 404)
        assert missing.json()["error"]["httpCode"] == 404


def test_service_performance(trip):
    server, trip = trip
    common = {"service": "bank", "endTs": int(time.time() * 1000), "lookback": 120_000, "step": 30_000, "ratePer": 60_000}
    latencies = get(server, "/api/metrics/latencies", quantile=0.95, groupByOperation="true", **common).json()
    assert (latencies["name"], latencies["type"]) == ("service_operation_latencies", "GAUGE")
    (series,) = latencies["metrics"]
    assert {l["name"]: l["value"] for l in series["labels"]} == {"service_name": "bank", "operation": "/charge"}
    values = [p["gaugeValue"]["doubleValue"] for p in series["metricPoints"]]
    assert any(v != "NaN" and 15 < float(v) < 64 for v in values), values
    calls = get(server, "/api/metrics/calls", **common).json()
    assert calls["name"] == "service_call_rate"
    assert any(float(p["gaugeValue"]["doubleValue"]) > 0 for p in calls["metrics"][0]["metricPoints"])
    errors = get(server, "/api/metrics/errors", **common).json()
    assert any(float(p["gaugeValue"]["doubleValue"]) == 1 for p in errors["metrics"][0]["metricPoints"])
    assert get(server, "/api/metrics/minstep").json()["data"] == 1
    get(server, "/api/metrics/latencies", 400, **common)


def test_latencies_are_those_of_spans(servers):
    """Also where no span is half as long as another."""
    server = dialects.start(servers)
    for duration in (1, 2000, 2000):
        start = time.time_ns() - (30_000 + duration) * MS
        server.must_push(otlp.export(otlp.span(start=start, duration=duration * MS, kind=otlp.Span.SPAN_KIND_SERVER), service="two"))
    for quantile, expected in ((0.3, 1), (0.5, 2000), (0.9, 2000)):
        params = {"service": "two", "quantile": quantile, "endTs": int(time.time() * 1000), "lookback": 60_000, "step": 60_000, "ratePer": 600_000}
        (series,) = get(server, "/api/metrics/latencies", **params).json()["metrics"]
        found = series["metricPoints"][-1]["gaugeValue"]["doubleValue"]
        assert expected / 1.2 < found < expected * 1.2, (quantile, found)


def test_the_main_port_has_them_too(trip):
    server, trip = trip
    assert server.get("/jaeger/api/services").json()["data"] == ["bank", "mail", "shop"]
    assert server.get(f"/jaeger/api/traces/{trip.trace}").json()["data"][0]["traceID"].rjust(32, "0") == trip.trace


def test_admin_port(trip):
    server, _ = trip
    assert requests.get(f"http://127.0.0.1:{server.ports.admin}/", timeout=5).status_code == 200
    assert "tempo_receiver_accepted_spans" in requests.get(f"http://127.0.0.1:{server.ports.admin}/metrics", timeout=5).text


def timestamp(nanoseconds):
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def test_grpc_v2(trip):
    server, trip = trip
    q = jaeger.query_v2
    with jaeger.channel(server.ports.query_grpc) as channel:
        stub = jaeger.query_v2_grpc.QueryServiceStub(channel)
        assert list(stub.GetServices(q.GetServicesRequest()).services) == ["bank", "mail", "shop"]
        operations = stub.GetOperations(q.GetOperationsRequest(service="bank"))
        assert [(o.name, o.span_kind) for o in operations.operations] == [("/charge", "server")]
        chunks = list(stub.GetTrace(q.GetTraceRequest(trace_id=bytes.fromhex(trip.trace))))
        spans = [span for chunk in chunks for span in chunk.spans]
        assert {span.operation_name for span in spans} == {b"GET /buy", b"charge", b"/charge", b"send", b"receive"}
        assert {span.process.service_name for span in spans} == {b"shop", b"bank", b"mail"}
        query = q.TraceQueryParameters(
            service_name="shop", tags={"http.status_code": "500"}, start_time_min=timestamp(trip.base - 10**9),
            start_time_max=timestamp(trip.base + 10 * 10**9), search_depth=5)
        traces = {span.trace_id.hex() for chunk in stub.FindTraces(q.FindTracesRequest(query=query)) for span in chunk.spans}
        assert traces == {trip.trace}
        window = {"start_time": timestamp(trip.base - 10**9), "end_time": timestamp(trip.base + 60 * 10**9)}
        links = stub.GetDependencies(q.GetDependenciesRequest(**window)).dependencies
        assert [(l.parent, l.child, l.call_count) for l in links] == [("shop", "bank", 1), ("shop", "mail", 1)]
        with pytest.raises(grpc.RpcError) as error:
            list(stub.GetTrace(q.GetTraceRequest(trace_id=b"\1" * 16)))
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "trace not found")
        with pytest.raises(grpc.RpcError) as error:
            list(stub.GetTrace(q.GetTraceRequest()))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("path", ["/jaeger/api/traces/{}", "/jaeger/api/v3/traces/{}", "/zipkin/api/v2/trace/{}"])
def test_whole_traces_are_compressed(servers, path):
    server, trace = dialects.start(servers), b"\x71" * 16
    server.must_push(otlp.export(*(otlp.span(trace_id=trace, attributes={"text": "x" * 1000}) for _ in range(200))))
    plain = requests.get(server.url + path.format(trace.hex()), headers={"Accept-Encoding": "identity"}, timeout=20)
    answer = requests.get(server.url + path.format(trace.hex()), headers={"Accept-Encoding": "gzip"}, timeout=20)
    assert answer.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert len(answer.content) == len(plain.content) > 200_000


def test_grpc_by_reflection(trip):
    """A client without any .proto file, such as grpcurl, learns the services and their messages from the port."""
    server, trip = trip
    with jaeger.channel(server.ports.query_grpc) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        assert {"jaeger.api_v2.QueryService", "jaeger.api_v3.QueryService", "grpc.health.v1.Health"} <= set(known.get_services())
        pool = DescriptorPool(known)

        def call(service, name, **fields):
            method = pool.FindServiceByName(service).methods_by_name[name]
            invoke = channel.unary_stream if method.server_streaming else channel.unary_unary
            question, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            send = invoke(f"/{service}/{name}", question.SerializeToString, answer.FromString)
            return send(question(**fields))

        assert sorted(call("jaeger.api_v2.QueryService", "GetServices").services) == ["bank", "mail", "shop"]
        chunks = list(call("jaeger.api_v3.QueryService", "GetTrace", trace_id=trip.trace))
        scopes = [scope for chunk in chunks for resource in chunk.resource_spans for scope in resource.scope_spans]
        assert "GET /buy" in {span.name for scope in scopes for span in scope.spans}


def test_grpc_v3(trip):
    server, trip = trip
    q = jaeger.query_v3
    with jaeger.channel(server.ports.query_grpc) as channel:
        stub = jaeger.query_v3_grpc.QueryServiceStub(channel)
        assert list(stub.GetServices(q.GetServicesRequest()).services) == ["bank", "mail", "shop"]
        query = q.TraceQueryParameters(
            service_name="shop", start_time_min=timestamp(trip.base - 10**9), start_time_max=timestamp(trip.base + 10 * 10**9), search_depth=5)
        summaries = [s for m in stub.FindTraceSummaries(q.FindTracesRequest(query=query)) for s in m.summaries]
        assert {(s.trace_id, s.span_count, s.error_span_count) for s in summaries} == {(trip.trace, 5, 1), (trip.alone, 1, 0)}
        found = {
            span.trace_id.hex() for m in stub.FindTraces(q.FindTracesRequest(query=query)) for group in m.resource_spans
            for scope in group.scope_spans for span in scope.spans}
        assert found == {trip.trace, trip.alone}
        # As Tracetest asks whether there is a Jaeger.
        with pytest.raises(grpc.RpcError) as error:
            list(stub.GetTrace(q.GetTraceRequest(trace_id="0" * 32)))
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "trace not found")


def test_storage_v2(trip):
    server, trip = trip
    q = jaeger.storage_v2
    with jaeger.channel(server.ports.storage_grpc) as channel:
        stub = jaeger.storage_v2_grpc.TraceReaderStub(channel)
        ids = [bytes.fromhex(trip.trace), bytes.fromhex(trip.alone)]
        per_message = []
        for message in stub.GetTraces(q.GetTracesRequest(query=[q.GetTraceParams(trace_id=i) for i in ids])):
            spans = [s for g in message.resource_spans for scope in g.scope_spans for s in scope.spans]
            assert spans and len({s.trace_id for s in spans}) == 1
            per_message.append(spans[0].trace_id)
        assert sorted(set(per_message)) == sorted(ids)
        query = q.TraceQueryParameters(
            service_name="bank", start_time_min=timestamp(trip.base - 10**9), start_time_max=timestamp(trip.base + 10 * 10**9), search_depth=5)
        answer = stub.FindTraceIDs(q.FindTraceIDsRequest(query=query))
        assert [t.trace_id.hex() for t in answer.trace_ids] == [trip.trace]


@pytest.fixture(scope="module")
def stock_jaeger(trip, tmp_path_factory):
    server, _ = trip
    query = jaeger.JaegerQuery(server.ports.storage_grpc, tmp_path_factory.mktemp("jaeger-query"))
    yield query
    query.close()


def test_a_stock_jaeger_in_front(trip, stock_jaeger):
    server, trip = trip

    def ask(path, **params):
        answer = requests.get(f"http://127.0.0.1:{stock_jaeger.http}{path}", params=params, timeout=20)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()["data"]

    assert sorted(ask("/api/services")) == ["bank", "mail", "shop"]
    assert sorted(ask("/api/services/shop/operations")) == ["GET /", "GET /buy", "charge", "send"]
    (theirs,) = ask(f"/api/traces/{trip.trace}")
    (ours,) = data(server, f"/api/traces/{trip.trace}")
    def plain(trace):
        return {
            (span["operationName"], span["duration"], span["startTime"], trace["processes"][span["processID"]]["serviceName"])
            for span in trace["spans"]}
    assert plain(theirs) == plain(ours)
    found = ask("/api/traces", service="shop", start=trip.base // 1000 - 10**6, end=trip.base // 1000 + 10**7, limit=20)
    assert {trace["traceID"].rjust(32, "0") for trace in found} == {trip.trace, trip.alone}
    links = ask("/api/dependencies", endTs=trip.base // 10**6 + 60_000, lookback=3_600_000)
    assert sorted((l["parent"], l["child"], l["callCount"]) for l in links) == [("shop", "bank", 1), ("shop", "mail", 1)]


def test_span_writers_of_the_storage_port(servers):
    server = dialects.start(servers)
    s, m = jaeger.storage_v1, jaeger.model
    span = m.Span(
        trace_id=bytes.fromhex(TRACE), span_id=bytes(7) + b"\5", operation_name=b"written", start_time=timestamp(time.time_ns()),
        process=m.Process(service_name=b"writer"))
    with jaeger.channel(server.ports.storage_grpc) as channel:
        jaeger.storage_v1_grpc.SpanWriterPluginStub(channel).WriteSpan(s.WriteSpanRequest(span=span))
        request = otlp.export(otlp.span(name="exported"), service="writer")
        otlp.trace_service_pb2_grpc.TraceServiceStub(channel).Export(request)
        capabilities = jaeger.storage_v1_grpc.PluginCapabilitiesStub(channel).Capabilities(s.CapabilitiesRequest())
        assert not capabilities.archiveSpanReader
        services = jaeger.storage_v1_grpc.SpanReaderPluginStub(channel).GetServices(s.GetServicesRequest())
        assert list(services.services) == ["writer"]
    assert server.trace(TRACE)[0][1]["name"] == "written"


def test_post_spans_by_grpc(servers):
    server = dialects.start(servers)
    message = bytes.fromhex(
        "0a5b0a520a1000000000000000010000000000000002120800000000000000031a026f70280132060880e2cfaa063a0410e0c65b42130a097370616e2e6b696e"
        "641a06736572766572420b0a056572726f721001200112050a03737663")
    with jaeger.channel(server.ports.jaeger_grpc) as channel:
        call = channel.unary_unary("/jaeger.api_v2.CollectorService/PostSpans")
        assert call(message, timeout=10) == b""
        strategy = jaeger.sampling_grpc.SamplingManagerStub(channel).GetSamplingStrategy(
            jaeger.sampling.SamplingStrategyParameters(serviceName="x"), timeout=10)
        assert strategy.strategyType == 0 and strategy.probabilisticSampling.samplingRate == 0.001
    ((_, span),) = server.trace(TRACE)
    assert (span["name"], span["kind"], span["status"]["code"]) == ("op", "SPAN_KIND_SERVER", "STATUS_CODE_ERROR")


def test_text_that_is_no_utf8_breaks_no_answer(servers):
    """A strict client refuses a whole message for one string with other bytes."""
    server = dialects.start(servers)
    request = otlp.export(otlp.span(
        bytes.fromhex(TRACE), name="BAD", trace_state="BAD", attributes={"BAD": "BAD", "list": ["BAD"]},
        events=[otlp.Span.Event(name="BAD")], status={"message": "BAD"}), service="odd", scope="BAD")
    body = request.SerializeToString().replace(b"BAD", b"B\xffD")
    assert server.push(body, headers={"Content-Type": "application/x-protobuf"}).status_code == 200
    with jaeger.channel(server.ports.query_grpc) as channel:
        stub = jaeger.query_v3_grpc.QueryServiceStub(channel)
        for raw in (False, True):
            answer = stub.GetTrace(jaeger.query_v3.GetTraceRequest(trace_id=TRACE, raw_traces=raw))
            (span,) = [span for m in answer for g in m.resource_spans for s in g.scope_spans for span in s.spans]
            assert span.trace_state == "B\ufffdD" and span.events[0].name == "B\ufffdD"
    with jaeger.channel(server.ports.storage_grpc) as channel:
        stub = jaeger.storage_v2_grpc.TraceReaderStub(channel)
        params = jaeger.storage_v2.GetTraceParams(trace_id=bytes.fromhex(TRACE))
        (message,) = stub.GetTraces(jaeger.storage_v2.GetTracesRequest(query=[params]))
        assert message.resource_spans[0].scope_spans[0].spans[0].name == "B\ufffdD"
