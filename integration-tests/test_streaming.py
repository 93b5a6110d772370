"""tempopb.StreamingQuerier on both ports: the answers of the HTTP API, in messages that show how far a query is."""
import contextlib
import gzip
import json
import os
import sys
import time

import grpc
import pytest
import requests
from google.protobuf import json_format
from harness import otlp
from harness.bombs import crc32c
from harness.cluster import Cluster
from harness.fault_proxy import FaultProxy
from harness.paths import CONFORMANCE
from harness.server import merge
from harness.servers import Servers
from harness.stalled_grpc import StalledCalls
from harness.streaming import PARTIAL, StreamingClient, as_call, merged, pb
from harness.waiting import eventually

PORTS = ["grpc", "http"]
NO_MERGES = {"overrides": {"defaults": {"compaction": {"compaction_disabled": True}}}}
# A difference after every job, packets that large answers do not fit in.
EAGER = {"query_frontend": {"streaming_interval": "1ms", "max_grpc_streaming_packet_size": 20_000,
                            "metrics": {"max_duration": "24h"}}}


def port(server, name):
    return server.grpc_port if name == "grpc" else server.http_port


def recorded():
    return json.loads(gzip.decompress((CONFORMANCE / "cases.json.gz").read_bytes()))


STREAMED = ("search", "legacy", "metrics", "instant", "tags", "values")
CASES = [case for case in recorded()["cases"] if case["kind"] in STREAMED]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """(server, base time) with the dataset of the recorded cases in a block."""
    sys.path.insert(0, str(CONFORMANCE))
    import dataset as recorded_dataset
    group = Servers(tmp_path_factory.mktemp("streaming"))
    server = group.start(config=EAGER)
    described, base = recorded()["dataset"], int(time.time()) // 60 * 60
    for request in recorded_dataset.requests(described["seed"], described["traces"], base, 600):
        server.must_push(request)
    server.flush()
    eventually(lambda: server.block_directories(), "blocks")
    window = {"start": base - 660, "end": base + 60}
    eventually(lambda: len(server.search("{}", limit=10_000, spss=1, **window)) >= described["traces"] - 2,
               "the dataset is searchable")
    yield server, base
    group.close()


def framed(text):
    """Text in the framing format of snappy, as it is."""
    crc = crc32c(text)
    content = ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little") + text
    return b"\xff\x06\0\0sNaPpY\1" + len(content).to_bytes(3, "little") + content


@pytest.mark.parametrize("name", PORTS)
def test_snappy_is_taken_as_tempos_services_send_it(tactus, name):
    series = 'tempo_request_duration_seconds_count{method="gRPC",route="/tempopb.StreamingQuerier/SearchTagsV2",status_code="%s",ws="false"}'

    def counted(status):
        return tactus.metrics().get(series % status, 0)

    with contextlib.closing(StalledCalls(port(tactus, name))) as calls:
        for message, status in (
                (framed(pb.SearchTagsRequest(scope="span").SerializeToString()), "success"),
                (framed(pb.SearchTagsRequest(scope="nonsense").SerializeToString()), "error"), (b"no snappy", "error")):
            before = counted(status)
            stream = calls.send("/tempopb.StreamingQuerier/SearchTagsV2", message, "snappy")
            calls.end(stream)
            eventually(lambda: stream in calls.ended, "an answer")  # noqa: B023
            eventually(lambda: counted(status) == before + 1, status)  # noqa: B023


class StreamedAnswer:
    """A stream as the answer of a request over HTTP."""

    def __init__(self, streamed):
        ok = streamed.code == grpc.StatusCode.OK
        self.status_code = 200 if ok else streamed.code.value[0]
        self.text = streamed.text
        self.body = merged(streamed.messages) if ok else None

    def json(self):
        return self.body


class StreamedServer:
    """Takes requests over HTTP, and streams them."""

    def __init__(self, client):
        self.client = client
        self.messages = 0

    def get(self, path, params=None):
        method, fields = as_call(path, params)
        streamed = self.client.call(method, **fields)
        self.messages += len(streamed.messages)
        return StreamedAnswer(streamed)


@pytest.mark.parametrize("port_name", PORTS)
def test_recorded_cases_are_answered_by_streams(dataset, port_name):
    import run
    server, base = dataset
    wrong = []
    with StreamingClient(port(server, port_name)) as client:
        streams = StreamedServer(client)
        for case in CASES:
            got = run.ask(streams, case, base)
            if not run.close(case["expect"], got):
                wrong.append((case["path"], case.get("params"), run.difference(case["expect"], got)))
        assert not wrong, (len(wrong), wrong[:5])
        assert streams.messages > len(CASES), "large answers come in packets"


def test_last_message_is_the_answer_over_http(servers):
    server = servers.start()
    for at in range(3):
        otlp.push_trace(server, spans=3, service=f"shop-{at}")
        server.flush()
    window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
    eventually(lambda: len(server.search("{}", **window)) == 3, "all traces")
    with StreamingClient(server.http_port) as client:
        for path, params in [
            ("/api/search", {"q": "{}", **window}),
            ("/api/search/tags", window),
            ("/api/v2/search/tags", window),
            ("/api/search/tag/service.name/values", window),
            ("/api/v2/search/tag/resource.service.name/values", window),
            ("/api/metrics/query_range", {"q": "{} | rate() by (resource.service.name)", "step": "60s", **window}),
            ("/api/metrics/query", {"q": "{} | count_over_time()", **window}),
        ]:
            over_http = server.get(path, **params).json()
            method, fields = as_call(path, params)
            streamed = client.call(method, **fields)
            body = merged([streamed.last])
            # Work is done again, or not, as caches have it.
            for answer in (over_http, body):
                answer.pop("metrics")
                for one in answer.get("series", []):
                    one.pop("exemplars", None)
            assert body == over_http, path
            metrics = streamed.last.metrics
            assert metrics.completedJobs == metrics.totalJobs > 0, path


# What is kept takes no work a second time.
FRESH = {"query_frontend": {"result_cache_bytes": 0}, "querier": {"column_cache_bytes": 0}}
# Both ways to count: single spans, and traces that are put together.
COUNTS = [(path, {"q": query, **step})
          for path, step in [("/api/metrics/query_range", {"step": "60s"}), ("/api/metrics/query", {})]
          for query in ("{} | count_over_time()", "{} | count() > 0 | count_over_time()")]
SEARCH = ("/api/search", {"q": "{}"})
NAMES = [(path, {}) for path in (
    "/api/search/tags", "/api/v2/search/tags", "/api/search/tag/service.name/values",
    "/api/v2/search/tag/resource.service.name/values")]


def work(server, client, path, params):
    """The work of a query, as the last message of its stream and the answer over HTTP tell alike."""
    method, fields = as_call(path, params)
    streamed = json_format.MessageToDict(client.call(method, **fields).last.metrics)
    over_http = server.get(path, **params).json()["metrics"]
    for told in (streamed, over_http):
        # Who opens a block first reads more; names and values of tags are in its summary, and known then.
        assert int(told.pop("inspectedBytes", 0)) > 0 or "/search/tag" in path, (path, told)
        # Of the copies of a trace a search waits for as many as it needs.
        told.pop("inspectedTraces", None)
    assert streamed == over_http, path
    return streamed


def jobs(recent, blocks, block_bytes):
    """What all queries tell alike; an ingester, or all of them, is one job."""
    done = {"completedJobs": recent + blocks, "totalJobs": recent + blocks}
    return {**done, "totalBlocks": blocks, "totalBlockBytes": str(block_bytes)} if blocks else done


@pytest.mark.parametrize("port_name", PORTS)
def test_last_message_tells_the_work_that_was_done(servers, port_name):
    server = servers.start(config=merge(NO_MERGES, FRESH))
    window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
    traces = [os.urandom(16) for _ in range(3)]

    def new():
        return [otlp.export(*(otlp.span(trace) for _ in range(3))) for trace in traces]

    def push(requests):
        for request in requests:
            server.must_push(request)

    def check(blocks, spans, found):
        sizes = [(directory / "data.parquet").stat().st_size for directory in server.block_directories()]
        expected = jobs(1, blocks, sum(sizes))
        for path, params in COUNTS:
            told = work(server, client, path, {**params, **window})
            assert told == {"inspectedSpans": str(spans), **expected}, (path, params)
        for path, params in [SEARCH, *NAMES]:
            assert work(server, client, path, {**params, **window}) == expected, path
        assert client.call("Search", Query="{}", **window).last.metrics.inspectedTraces == found

    with StreamingClient(port(server, port_name)) as client:
        early, late = new(), new()
        # Twice, as a client does that was not answered.
        push(early + late + late)
        check(blocks=0, spans=18, found=3)
        server.flush()
        path, params = COUNTS[0]
        eventually(lambda: work(server, client, path, {**params, **window}).get("totalBlocks"), "a block is read")
        check(blocks=1, spans=18, found=3)
        push(new() + early)
        # A source counts its traces by itself.
        check(blocks=1, spans=27, found=6)


@pytest.mark.parametrize("port_name", PORTS)
def test_errors_are_statuses_with_the_texts_of_http(tactus, port_name):
    with StreamingClient(port(tactus, port_name)) as client:
        for path, params in [
            ("/api/search", {"q": "{resource.service.name=article}"}),
            ("/api/search", {"q": "{"}),
            ("/api/search", {"q": "{}", "limit": 300_000}),
            ("/api/search", {"q": "{}", "spss": 101}),
            ("/api/search", {"q": "{}", "start": 1, "end": 700_000}),
            ("/api/v2/search/tags", {"scope": "foo"}),
            ("/api/v2/search/tag/app.user.id/values", {}),
            ("/api/metrics/query_range", {"q": "{}", "start": 1, "end": 2}),
            ("/api/metrics/query_range", {"q": "{} | rate()", "start": 1_700_000_000, "end": 1_700_000_360, "step": "35ms"}),
            ("/api/metrics/query", {"q": "{} | rate(", "start": 1, "end": 2}),
        ]:
            over_http = tactus.get(path, **params)
            method, fields = as_call(path, params)
            streamed = client.call(method, **fields)
            assert over_http.status_code == 400, path
            assert (streamed.code, streamed.text) == (grpc.StatusCode.INVALID_ARGUMENT, over_http.text), path
            assert not streamed.messages


def test_query_that_no_url_holds_goes_by_grpc(tactus):
    params = {"q": "{ name = `" + "a" * 100_000 + "` }"}
    assert tactus.get("/api/search", **params).status_code == 414
    with StreamingClient(tactus.grpc_port) as client:
        method, fields = as_call("/api/search", params)
        answer = client.call(method, **fields)
        assert answer.code == grpc.StatusCode.OK and answer.messages, answer.text


def test_empty_store_is_one_message(servers):
    server = servers.start()
    for name in PORTS:
        with StreamingClient(port(server, name)) as client:
            streamed = client.call("Search", Query="{}")
            assert len(streamed.messages) == 1 and not streamed.last.traces
            assert streamed.last.HasField("metrics") and PARTIAL not in streamed.trailers
    # The HTTP port still speaks HTTP/1.1.
    assert requests.get(server.url + "/api/echo", timeout=10).text == "echo\n"


def test_tenants_come_from_the_metadata(servers):
    server = servers.start(config={"multitenancy_enabled": True})
    for tenant in ("one", "two"):
        body = otlp.export(otlp.span(name=tenant), service=tenant).SerializeToString()
        response = requests.post(server.otlp_url + "/v1/traces", data=body, timeout=10, headers={
            "Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant})
        assert response.status_code == 200
    window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
    for name in PORTS:
        for tenants, expected in [("one", {"one"}), ("one|two", {"one", "two"}), ("three", set())]:
            with StreamingClient(port(server, name), tenant=tenants) as client:
                found = client.call("Search", Query="{}", **window).last.traces
                assert {trace.rootServiceName for trace in found} == expected
                values = client.call("SearchTagValues", tagName="service.name", **window).last.tagValues
                assert set(values) == expected
        with StreamingClient(port(server, name)) as client:
            missing = client.call("Search", Query="{}")
            assert (missing.code, missing.text) == (grpc.StatusCode.UNAUTHENTICATED, "no org id")
            bad = client.call("Search", Query="{}", metadata=[("x-scope-orgid", "a/b")])
            assert bad.code == grpc.StatusCode.INVALID_ARGUMENT
            assert bad.text == "tenant ID 'a/b' contains unsupported character '/'"
            # Grafana 13.0.1 to 13.1.3 sends the headers of a data source twice.
            one, two = ("x-scope-orgid", "one"), ("x-scope-orgid", "two")
            found = client.call("Search", Query="{}", metadata=[one, one], **window).last.traces
            assert {trace.rootServiceName for trace in found} == {"one"}
            differing = client.call("Search", Query="{}", metadata=[one, one, two], **window)
            assert (differing.code, differing.text) == (grpc.StatusCode.INVALID_ARGUMENT, "multiple org IDs present")
            joined = client.call("Search", Query="{}", metadata=[("x-scope-orgid", "one:,two")], **window)
            assert joined.code == grpc.StatusCode.INVALID_ARGUMENT


def test_damaged_block_is_told_in_a_trailer(servers):
    server = servers.start()
    otlp.push_trace(server, spans=3)
    server.flush()
    (block,) = eventually(server.block_directories, "a block")
    data = block / "data.parquet"
    server.stop()
    data.write_bytes(data.read_bytes()[:40])
    server.start()
    window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
    eventually(lambda: server.get("/api/search", q="{}", **window).headers.get("X-Tactus-Partial"), "damage is noticed")
    with StreamingClient(server.grpc_port) as client:
        streamed = client.call("Search", Query="{ name != nil }", **window)
        assert streamed.code == grpc.StatusCode.OK and streamed.trailers[PARTIAL] == "true"
        nanos = {name: seconds * 10**9 for name, seconds in window.items()}
        streamed = client.call("MetricsQueryInstant", query="{} | rate()", **nanos)
        assert streamed.trailers[PARTIAL] == "true" and streamed.last.status == 1
        assert "could not be read" in streamed.last.message


@pytest.fixture
def slow_store(servers, bucket, s3_server):
    """(server, window) over eight blocks in a store that takes its time, read one after the other."""
    writer = servers.start("writer", config=merge(NO_MERGES, bucket.config()))
    for at in range(8):
        otlp.push_trace(writer, spans=2, service=f"shop-{at}")
        writer.flush()
        eventually(lambda at=at: len(bucket.blocks()) == at + 1, "a block")
    with FaultProxy(s3_server.port) as proxy:
        config = merge(NO_MERGES, bucket.config(endpoint=f"127.0.0.1:{proxy.port}"))
        config = merge(config, {
            "storage": {"trace": {"blocklist_poll": "1h"}},
            "query_frontend": {
                "streaming_interval": "20ms", "search": {"concurrent_jobs": 1}, "metrics": {"concurrent_jobs": 1}},
        })
        server = servers.start("reader", config=config)
        window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
        proxy.set("some", every=10**9, delay=0.1)
        yield server, window
        # Not a change of mode, which would end connections: reads in flight shall be answered.
        proxy.delay = 0


def test_search_shows_what_it_finds_and_how_far_it_is(slow_store):
    server, window = slow_store
    with StreamingClient(server.http_port) as client:
        started = time.monotonic()
        call = client.start("Search", Query="{}", **window)
        messages, seconds = [], []
        for message in call:
            messages.append(message)
            seconds.append(time.monotonic() - started)
        assert len(messages) > 4 and seconds[0] < seconds[-1] / 2, seconds
        done = [message.metrics.completedJobs for message in messages]
        assert done == sorted(done) and done[0] < done[-1] == messages[-1].metrics.totalJobs, done
        assert {message.metrics.totalJobs for message in messages} == {done[-1]}, "known from the beginning"
        early = [trace.traceID for message in messages[:-1] for trace in message.traces]
        last = {trace.traceID for trace in messages[-1].traces}
        assert len(last) == 8 and early and len(early) == len(set(early)) and set(early) <= last
        names = client.call("SearchTagValues", tagName="service.name", **window)
        shown = [value for message in names.messages[:-1] for value in message.tagValues]
        assert shown and len(shown) == len(set(shown)) and set(shown) <= set(names.last.tagValues)
        assert len(names.last.tagValues) == 8


def test_series_show_the_intervals_that_are_done(slow_store):
    server, window = slow_store
    with StreamingClient(server.http_port) as client:
        nanos = {name: value * 10**9 for name, value in window.items()}
        counted = client.call("MetricsQueryRange", query="{} | count_over_time()", step=60 * 10**9, **nanos)
        assert len(counted.messages) > 4
        done = [message.metrics.completedJobs for message in counted.messages]
        assert done == sorted(done) and done[0] < done[-1] == counted.last.metrics.totalJobs, done
        points = {point.timestamp_ms: point.value for point in counted.last.series[0].samples}
        assert sum(points.values()) == 16
        for message in counted.messages[:-1]:
            for series in message.series:
                assert all(points[point.timestamp_ms] == point.value for point in series.samples)


def test_client_that_leaves_ends_its_query(slow_store):
    server, window = slow_store
    with StreamingClient(server.grpc_port) as client:
        call = client.start("Search", Query="{ name != nil }", **window)
        next(iter(call))
        call.cancel()
    canceled = 'tempo_query_frontend_queries_total{tenant="single-tenant",op="search",result="canceled"} 1'
    eventually(lambda: canceled in requests.get(server.url + "/metrics", timeout=10).text, "the query is canceled", 30)
    # Takes longer than the read that the query was at.
    assert len(server.search("{ name != nil }", **window)) == 8


def test_streams_are_counted_by_method(tactus):
    with StreamingClient(tactus.grpc_port) as client:
        client.call("Search", Query="{}")
        canceled = client.start("Search", Query="{}")
        canceled.cancel()
    text = requests.get(tactus.url + "/metrics", timeout=10).text
    assert 'route="/tempopb.StreamingQuerier/Search"' in text


@pytest.mark.parametrize("port", ["grpc_port", "http_port"])
def test_whole_trace_is_found_by_its_id(tactus, port):
    trace_id = bytes.fromhex(otlp.push_trace(tactus, spans=3, service="lookup"))
    with grpc.insecure_channel(f"127.0.0.1:{getattr(tactus, port)}") as channel:
        find = channel.unary_unary(
            "/tempopb.Querier/FindTraceByID", request_serializer=pb.TraceByIDRequest.SerializeToString,
            response_deserializer=pb.TraceByIDResponse.FromString)
        found = find(pb.TraceByIDRequest(traceID=trace_id), timeout=30)
        spans = [span for resource in found.trace.resourceSpans for scope in resource.scope_spans for span in scope.spans]
        assert len(spans) == 3 and {span.trace_id for span in spans} == {trace_id}
        with pytest.raises(grpc.RpcError) as refused:
            find(pb.TraceByIDRequest(traceID=bytes(17)), timeout=30)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "traceID has 17 bytes" in refused.value.details()
        search = channel.unary_unary("/tempopb.Querier/SearchRecent")
        with pytest.raises(grpc.RpcError) as unknown:
            search(b"", timeout=30)
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_cluster_streams_what_it_finds_and_says_when_ingesters_are_missing(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 2}
    with Cluster(tmp_path, bucket, counts) as cluster:
        cluster.start()
        (distributor,), (frontend,) = cluster.of("distributor"), cluster.of("query-frontend")
        pushed = {otlp.push_trace(distributor, spans=3) for _ in range(5)}
        window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
        nanos = {name: value * 10**9 for name, value in window.items()}
        eventually(lambda: set(frontend.search("{}", **window)) == pushed, "all traces")

        def ask(name):
            with StreamingClient(port(frontend, name), host=frontend.address) as client:
                return (client.call("Search", Query="{}", **window),
                        client.call("SearchTagValues", tagName="service.name", **window),
                        client.call("MetricsQueryInstant", query="{} | count_over_time()", **nanos))

        for name in PORTS:
            search, values, counted = ask(name)
            assert {trace.traceID for trace in search.last.traces} == {trace.lstrip("0") for trace in pushed}
            assert list(values.last.tagValues) == ["shop"]
            assert [series.value for series in counted.last.series] == [15]
            assert all(PARTIAL not in streamed.trailers for streamed in (search, values, counted))
        for node in cluster.of("ingester")[:2]:
            node.kill()
        # Two of three replicas are gone: a span may have been on those two only.
        eventually(lambda: all(streamed.trailers.get(PARTIAL) for streamed in ask("grpc")), "partial answers", 30)
        header = frontend.get("/api/search", q="{}", **window).headers.get("X-Tactus-Partial")
        assert header == "true"
        _, _, counted = ask("http")
        assert counted.last.status == 1 and "could not be read" in counted.last.message


def test_cluster_tells_the_work_on_one_copy_of_each_span(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    # Blocks come when they are asked for, and ingesters go on answering for their spans.
    config = merge(FRESH, {"ingester": {"max_block_duration": "10m", "complete_block_timeout": "10m"}})
    with Cluster(tmp_path, bucket, counts, config=config) as cluster:
        cluster.start()
        (distributor,), (frontend,) = cluster.of("distributor"), cluster.of("query-frontend")
        pushed = {otlp.push_trace(distributor, spans=3) for _ in range(5)}
        window = {"start": int(time.time()) - 300, "end": int(time.time()) + 300}
        eventually(lambda: set(frontend.search("{}", **window)) == pushed, "all traces")

        def check(blocks):
            for name in PORTS:
                with StreamingClient(port(frontend, name), host=frontend.address) as client:
                    for path, params in [*COUNTS, SEARCH, *NAMES]:
                        told = work(frontend, client, path, {**params, **window})
                        block_bytes = told.get("totalBlockBytes", 0)
                        assert bool(block_bytes) == bool(blocks), path
                        spans = {"inspectedSpans": "15"} if (path, params) in COUNTS else {}
                        assert told == {**spans, **jobs(1, blocks, block_bytes)}, (path, params)

        check(blocks=0)
        cluster.flush()
        eventually(lambda: frontend.get("/api/search", q="{}", **window).json()["metrics"].get("totalBlocks") == 3,
                   "the blocks of three ingesters")
        check(blocks=3)
        pushed.add(otlp.push_trace(distributor, spans=2))
        eventually(lambda: set(frontend.search("{}", **window)) == pushed, "the trace that came last")
        with StreamingClient(port(frontend, "grpc"), host=frontend.address) as client:
            for path, params in COUNTS:
                told = work(frontend, client, path, {**params, **window})
                assert (told["inspectedSpans"], told["totalBlocks"]) == ("17", 3), (path, params)
