"""How often a query asks the object store, with nothing cached: requests are what a cold query waits and pays for."""
import hashlib
import json
import time
import uuid

import pytest

from harness import otlp
from harness.server import merge
from harness.store_tests import forget_local_data
from harness.waiting import eventually

# Nothing but queries asks the store, and nothing is kept between two of them but what a restart takes away.
CONFIG = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"},
    "compactor": {"disabled": True},
    "querier": {"column_cache_bytes": 0},
    "query_frontend": {"result_cache_bytes": 0},
    "storage": {"trace": {"blocklist_poll": "1h", "block": {"parquet_row_group_size_bytes": 40_000}}},
}
TRACES, SPANS = 48, 25
ROUTES = ["/cart", "/pay", "/items"]


def push(server):
    """Spans with attributes of few and of many values, and one of each value; returns the ids of their traces."""
    ids = []
    for number in range(TRACES):
        spans = otlp.trace(SPANS, attributes={"http.route": ROUTES[number % 3], "retry": number % 2 == 0, "size": number % 7})
        for i, span in enumerate(spans):
            span.attributes.extend(otlp.key_values({"order.id": f"order-{number:03}-{i:03}", "padding": f"{number * i:060}"}))
        server.must_push(otlp.export(*spans, service=f"service-{number % 4}"))
        ids.append(spans[0].trace_id.hex())
    return ids


def gets(server):
    return sum(count for name, count in server.metrics().items()
               if name.startswith('tempodb_backend_request_duration_seconds_count{operation="GET"'))


@pytest.fixture
def stored(servers, bucket):
    """A server with one block of several row groups in the bucket, and nothing else; and the ids of the traces."""
    server = servers.start(config=merge(CONFIG, bucket.config()))
    ids = push(server)
    server.flush()
    eventually(lambda: sum(meta["totalObjects"] for meta in bucket.metas()) == TRACES, "all traces in the bucket")
    (meta,) = bucket.metas()
    assert meta["totalRecords"] >= 4, meta
    assert server.stop() == 0
    forget_local_data(server)
    return server, ids


def cold(server, ask):
    """What `ask` returns of a server that has just started, and how often it asked the store."""
    server.start()
    before = gets(server)
    answer = ask()
    count = gets(server) - before
    assert server.stop() == 0
    forget_local_data(server)
    return answer, count


def search(server, query):
    return lambda: server.search(query)


def get(server, path, **params):
    now = int(time.time())
    return lambda: server.get(path, start=now - 3600, end=now + 60, **params).json()


def series(answer):
    return sum(float(sample.get("value", 0)) for one in answer["series"] for sample in one["samples"])


def test_requests_of_each_kind_of_query_are_few(stored):
    server, ids = stored
    names, count = cold(server, get(server, "/api/v2/search/tags"))
    of_spans = next(scope["tags"] for scope in names["scopes"] if scope["name"] == "span")
    assert ({"http.route", "order.id", "retry", "size"} <= set(of_spans), count) == (True, 1)

    for tag, values in (
        ("resource.service.name", {f"service-{i}" for i in range(4)}), (".http.route", set(ROUTES)),
        ("span.retry", {"true", "false"}), ("span.size", {str(i) for i in range(7)}),
        ("name", {"root", *(f"child-{i}" for i in range(1, SPANS))}),
    ):
        found, count = cold(server, get(server, f"/api/v2/search/tag/{tag}/values"))
        assert ({value["value"] for value in found["tagValues"]}, count) == (values, 1), tag

    found, count = cold(server, lambda: server.trace("7" * 32))
    assert (found, count) == (None, 1)
    found, count = cold(server, lambda: server.trace(ids[5]))
    assert len(found) == SPANS and count <= 3, count

    for query, traces, most in (
        ('{ resource.service.name = "service-1" }', TRACES // 4, 4),
        ('{ span.http.route = "/pay" && duration > 1ms } | count() > 2', TRACES // 3, 4),
        ('{ status = error }', 0, 3),
        ('{ span.order.id = "order-007-003" }', 1, 4),
        ('{ name = "root" } >> { name = "child-3" }', TRACES, 4),
        ('{ resource.service.name = "absent" }', 0, 1),
        ('{ span.http.route =~ "/no.*" }', 0, 1),
        ('{ span.absent = "x" }', 0, 1),
        ("{ span.size > 6 }", 0, 1),
        ("{ duration > 1h }", 0, 0),
        ('{ span.http.route = "/pay" && duration > 1h }', 0, 0),
        ("{ span.size = 2.5 || span.retry < 1 }", 0, 1),
        ("{ span.size > 5 }", TRACES // 7, 4),
    ):
        found, count = cold(server, search(server, query))
        assert len(found) == traces and count <= most, (query, len(found), count)

    for query, spans in (
        ("{ } | rate() by (resource.service.name)", None),
        ('{ span.http.route = "/pay" } | count_over_time()', TRACES // 3 * SPANS),
    ):
        answer, count = cold(server, get(server, "/api/metrics/query_range", q=query, step="60s"))
        assert answer["series"] and count <= 4, (query, count)
        assert spans is None or series(answer) == spans
    answer, count = cold(server, get(server, "/api/metrics/query", q="{ duration > 1h } | count_over_time()"))
    assert (sum(float(one.get("value", 0)) for one in answer["series"]), count) == (0, 0)


ORDERS = 6000
# Few entries take more room than 3 % of what they are of.
LARGER_ROW_GROUPS = {"storage": {"trace": {"block": {"parquet_row_group_size_bytes": 220_000}}}}


def text_of(order):
    return f"order-{order}"


def number_of(order):
    """Far from the next one, so that a block cannot store them as differences."""
    return order * 2_654_435_761 % 2**40


def push_orders(server, tenant=None, value=text_of):
    """A span for each order; ids, and so row groups and filters, are the same in every run."""
    for first in range(0, ORDERS, 500):
        spans = [otlp.span(trace_id=hashlib.sha256(b"%d" % order).digest()[:16], attributes={"order.id": value(order)})
                 for order in range(first, first + 500)]
        response = server.push(otlp.export(*spans), headers={"X-Scope-OrgID": tenant} if tenant else {})
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("value", [text_of, number_of], ids=["text", "number"])
def test_needle_asks_only_for_the_row_groups_that_may_have_it(servers, bucket, value):
    def needle(order):
        return f"{{ span.order.id = {json.dumps(value(order))} }}"

    server = servers.start(config=merge(merge(CONFIG, LARGER_ROW_GROUPS), bucket.config()))
    push_orders(server, value=value)
    server.flush()
    eventually(lambda: sum(meta["totalObjects"] for meta in bucket.metas()) == ORDERS, "all traces in the bucket")
    (meta,) = bucket.metas()
    summary = meta["tactus"]["summary"]
    assert meta["totalRecords"] >= 3 and 0 < summary["filter"] <= meta["size"] * 0.03, meta
    assert server.stop() == 0
    forget_local_data(server)

    # What the block's values do not tell its filter does, which is small enough to be read with them.
    found, count = cold(server, search(server, needle(6001)))
    assert (found, count) == ({}, 1)
    found, count = cold(server, search(server, needle(4711)))
    assert len(found) == 1 and count <= 6, count
    # Another needle: filters are kept.
    server.start()
    assert server.search(needle(6001)) == {}
    before = gets(server)
    assert server.search(needle(6002)) == {}
    assert gets(server) == before
    for order in (0, 1000, ORDERS - 1):
        assert len(server.search(needle(order))) == 1


def multiply(bucket, block, count):
    """So many more blocks with the content of one."""
    keys = [key for key in bucket.keys() if block in key]
    for _ in range(count):
        copy = str(uuid.uuid4())
        # A block is one when its meta is there.
        for key in sorted(keys, key=lambda key: key.endswith("meta.json")):
            body = bucket.get(key)
            bucket.put(key.replace(block, copy), body.replace(block.encode(), copy.encode()) if key.endswith("meta.json") else body)


def test_needle_in_many_blocks_asks_for_their_summaries_once(servers, bucket):
    server = servers.start(config=merge(merge(CONFIG, LARGER_ROW_GROUPS), bucket.config()))
    push_orders(server)
    server.flush()
    eventually(lambda: sum(meta["totalObjects"] for meta in bucket.metas()) == ORDERS, "all traces in the bucket")
    (many,) = bucket.blocks()
    server.must_push(otlp.export(otlp.span(trace_id=b"n" * 16, attributes={"order.id": "needle"})))
    server.flush()
    eventually(lambda: len(bucket.blocks()) == 2, "the block with the needle")
    assert server.stop() == 0
    forget_local_data(server)
    blocks = 120
    multiply(bucket, many, blocks - 2)
    assert len(bucket.blocks()) == blocks

    # The newest block is the needle's. It is opened; of the others summaries are read, each once.
    server.start()
    before = gets(server)
    assert server.search('{ span.order.id = "order-absent" }') == {}
    assert gets(server) - before == blocks
    before = gets(server)
    assert len(server.search('{ span.order.id = "needle" }')) == 1
    assert gets(server) - before <= 12
    # Whoever looks for what all have needs no summary of most.
    assert server.stop() == 0
    forget_local_data(server)
    server.start()
    before = gets(server)
    assert len(server.search('{ span.order.id = "order-7" }', limit=1)) == 1
    assert gets(server) - before < blocks
    answer = server.get("/api/search", q='{ span.order.id = "needle" }', start=int(time.time()) - 3600, end=int(time.time()) + 60).json()
    assert answer["metrics"]["totalBlocks"] == blocks and answer["metrics"]["completedJobs"] == answer["metrics"]["totalJobs"]


def test_filters_are_left_out_for_a_tenant_that_wants_none(servers, bucket, tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("overrides: {plain: {storage: {value_filters_disabled: true}}}")
    server = servers.start(config=merge(merge(CONFIG, LARGER_ROW_GROUPS), {
        **bucket.config(), "multitenancy_enabled": True, "overrides": {"per_tenant_override_config": str(limits)}}))
    for tenant in ("plain", "filtered"):
        push_orders(server, tenant)
    server.flush()
    eventually(lambda: all(bucket.metas(tenant) for tenant in ("plain", "filtered")), "both blocks")
    for tenant, has_filter in (("plain", False), ("filtered", True)):
        (meta,) = bucket.metas(tenant)
        assert ("filter" in meta["tactus"]["summary"]) is has_filter, meta
        assert len(bucket.get(f"{tenant}/{meta['blockID']}/tactus-summary")) == sum(meta["tactus"]["summary"].values())


def test_block_without_its_summary_answers_the_same(stored, bucket):
    server, ids = stored
    (block,) = bucket.blocks()
    summary = f"single-tenant/{block}/tactus-summary"
    asked = [get(server, "/api/v2/search/tags"), get(server, "/api/v2/search/tag/span.http.route/values"),
             search(server, '{ span.http.route = "/pay" }'), lambda: server.trace(ids[0]), search(server, '{ span.order.id = "x" }')]

    def answers():
        server.start()
        found = [json.dumps(ask(), sort_keys=True, default=str) for ask in asked]
        assert server.stop() == 0
        forget_local_data(server)
        # How much was read is no part of the answer.
        return [drop_metrics(json.loads(answer)) for answer in found]

    whole = bucket.get(summary)
    expected = answers()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b"", None):
        if damaged is None:
            bucket.client.delete_object(Bucket=bucket.name, Key=summary)
        else:
            bucket.put(summary, damaged)
        assert answers() == expected


def drop_metrics(answer):
    if isinstance(answer, dict):
        answer.pop("metrics", None)
    return answer
