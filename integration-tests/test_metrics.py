"""TraceQL metrics over HTTP: the same series from live spans, segments and blocks, and each span once."""
import threading
import time

import pytest
import requests

from harness import otlp
from harness.shop import FORMS, MS, shop_in

SECOND = 10**9


@pytest.fixture(scope="module", params=FORMS)
def shop(request, tmp_path_factory):
    """(server, shop) with the shop's spans in one form."""
    with shop_in(request.param, tmp_path_factory.mktemp("metrics")) as held:
        yield held


def label(series):
    """The labels of a series as {name: plain value}."""
    return {entry["key"]: next(iter(entry["value"].values())) for entry in series["labels"]}


def instant(server, query, window, **params):
    response = server.get("/api/metrics/query", q=query, **window, **params)
    assert response.status_code == 200, response.text
    return [(label(series), series.get("value", 0)) for series in response.json().get("series", [])]


def range_of(server, query, window, **params):
    response = server.get("/api/metrics/query_range", q=query, **window, **params)
    assert response.status_code == 200, response.text
    return response.json()


INSTANT = [
    ("{ } | count_over_time()", [({"__name__": "count_over_time"}, 3)]),
    ("{ } | count_over_time() by (resource.service.name)",
     [({"resource.service.name": "cart"}, 2), ({"resource.service.name": "payment"}, 1)]),
    ("{ kind = server } | sum_over_time(span.http.status_code)", [({"__name__": "sum_over_time"}, 700)]),
    ("{ } | max_over_time(duration)", [({"__name__": "max_over_time"}, 0.9)]),
    ("{ } | min_over_time(duration) by (status)", [({"status": "error"}, 0.9), ({"status": "unset"}, 0.02)]),
    ("{ } | avg_over_time(duration) by (resource.region)",
     [({"resource.region": "eu"}, 0.06), ({"resource.region": "us"}, 0.9)]),
    ("{ span.user = \"grace\" } | quantile_over_time(duration, .5)", [({"p": 0.5}, 1.073741824)]),
    ("{ name = \"HGETALL\" } | histogram_over_time(duration)", [({"__bucket": 0.033554432}, 1)]),
    ("{ } > { } | count_over_time() by (name)", [({"name": "HGETALL"}, 1)]),
    ("{ } | count() > 1 | count_over_time()", [({"__name__": "count_over_time"}, 2)]),
    ("{ } | count_over_time() by (span.nope)", [({"span.nope": "nil"}, 3)]),
    ("{ } | count_over_time() by (name) | topk(1)", [({"name": "GET /cart"}, 1)]),
    ("{ } | count_over_time() by (resource.service.name) > 1", [({"resource.service.name": "cart"}, 2)]),
    ("({ status = error } | count_over_time()) / ({ } | count_over_time()) * 100",
     [({"__name__": "(count_over_time / count_over_time)"}, pytest.approx(100 / 3))]),
    ("{ span.user = \"nobody\" } | rate() by (name)", []),
    ("{ parent.user = \"ada\" } | count_over_time() by (name)", [({"name": "HGETALL"}, 1)]),
]


@pytest.mark.parametrize(("query", "expected"), INSTANT, ids=[q for q, _ in INSTANT])
def test_instant_values(shop, query, expected):
    server, data = shop
    assert sorted(instant(server, query, data.window), key=str) == sorted(expected, key=str)


def test_range_has_a_sample_for_each_step(shop):
    server, data = shop
    second = data.base // SECOND
    body = range_of(server, "{ } | count_over_time()", {"start": second - 5, "end": second + 5}, step="1s")
    (series,) = body["series"]
    at = {int(s["timestampMs"]) // 1000: s.get("value", 0) for s in series["samples"]}
    assert list(at) == list(range(second - 5, second + 6))
    # A span belongs to the interval that ends at or after its start.
    assert sum(at.values()) == 3 and all(at[t] == 0 for t in at if t <= second - 1 or t > second + 2)
    assert int(body["metrics"]["inspectedSpans"]) >= 1


def test_rate_is_by_the_second(shop):
    server, data = shop
    (series,) = range_of(server, "{ } | rate()", data.window, step="60s")["series"]
    assert sum(s.get("value", 0) for s in series["samples"]) == pytest.approx(3 / 60)


def test_compare_splits_the_spans(shop):
    server, data = shop
    found = instant(server, "{ } | compare({ status = error })", data.window)
    selected = {(k, v) for labels, value in found for k, v in labels.items()
                if labels["__meta_type"] == "selection" and k != "__meta_type" and value == 1}
    assert {("name", "charge"), ("span.user", "grace"), ("resource.region", "us"), ("status", "error")} <= selected
    totals = {k: value for labels, value in found for k in labels if labels["__meta_type"] == "baseline_total"}
    assert totals["name"] == 2 and totals["span.user"] == 1 and "span.nope" not in totals


def test_compare_has_memory_for_very_many_attributes(servers):
    server = servers.start()
    for _ in range(4):
        attributes = {f"key-{number}": "value " * 300 for number in range(2_300)}
        server.must_push(otlp.export(otlp.span(attributes=attributes), otlp.span(status={"code": 2})))
    window = {"start": int(time.time()) - 600, "end": int(time.time()) + 60}
    for place in ("live", "block"):
        found = instant(server, "{ } | compare({ status = error })", window)
        keys = {key for labels, _ in found for key in labels if key.startswith("span.key-")}
        assert len(keys) == 2_300, place
        server.flush()


def test_exemplars_are_spans_that_were_counted(shop):
    server, data = shop
    body = range_of(server, "{ status = error } | max_over_time(duration)", data.window, step="10s", exemplars=5)
    (series,) = body["series"]
    (exemplar,) = series["exemplars"]
    assert exemplar["value"] == pytest.approx(0.9)
    assert label(exemplar)["trace:id"] == data.pay.hex().lstrip("0")
    assert int(exemplar["timestampMs"]) == (data.base + 500 * MS) // 10**6
    none = range_of(server, "{ } | rate() with(exemplars=false)", data.window, step="10s", exemplars=5)
    assert all("exemplars" not in series for series in none["series"])


def test_explained_query_says_what_it_did(shop):
    server, data = shop
    for path, query in (("/api/metrics/query_range", "{ status = error } | rate()"),
                        ("/api/search", "{ status = error }")):
        plain = server.get(path, q=query, **data.window).json()
        explained = server.get(path, q=query, explain="true", **data.window).json()
        hinted = server.get(path, q=query + " with(explain=true)", **data.window).json()
        assert "explain" not in plain
        assert explained["explain"]["jobs"] and hinted["explain"]["jobs"]
        first = next(k for k in ("series", "traces") if k in plain)
        assert explained[first] == plain[first]
        totals = explained["explain"]["totals"]
        # An answer that is kept says nothing of the work behind it.
        is_kept = "answer was kept" in totals["pruned"]
        assert totals["matchedSpans"] == 1 or is_kept and totals["matchedSpans"] == 0, totals


ERRORS = [
    ("query_range", {"q": "{ }"}, "not a metrics query"),
    ("query_range", {"q": "{ } | rate("}, "parse error"),
    ("query_range", {"q": "{ } | rate()", "step": "x"}, 'cannot parse "x" to a valid duration'),
    ("query_range", {"q": "{ } | rate()", "start": 1700000000, "end": 1700000360, "step": "35ms"},
     "step of 35ms is too small, minimum step for given range is 36ms"),
    ("query_range", {"q": "{ } | rate()", "start": 20, "end": 10}, "end must be greater than start"),
    ("query_range", {"q": "{ } | rate()", "start": 0, "end": 360}, "start required"),
    ("query", {"q": "{ } | rate()", "start": 1700000000, "end": 0}, "end required"),
    ("query_range", {"q": "{ } | rate()", "start": 1700000000, "end": 1700100000},
     "metrics query time range exceeds the maximum allowed duration of 3h0m0s"),
    ("query", {"q": "{ } | rate("}, "compiling query: parse error"),
    ("query", {"q": "{ } | rate() by (.a, .b, .c, .d, .e, .f)"}, "compiling query: metrics group by 6 values"),
]


@pytest.mark.parametrize(("path", "params", "text"), ERRORS, ids=[str(e[1]) for e in ERRORS])
def test_bad_metrics_query_is_400_in_plain_text(tactus, path, params, text):
    response = tactus.get(f"/api/metrics/{path}", **params)
    assert response.status_code == 400, response.text
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text.startswith(text), response.text


def test_nothing_is_an_empty_list_or_one_line_of_zeros(tactus):
    window = {"start": 1_700_000_000, "end": 1_700_000_060}
    assert range_of(tactus, "{ } | rate() by (name)", window)["series"] == []
    (zeros,) = range_of(tactus, "{ } | rate()", window, step="10s")["series"]
    assert [s.get("value", 0) for s in zeros["samples"]] == [0] * 7
    assert range_of(tactus, "{ false } | rate()", window)["series"] == []
    assert "series" not in tactus.get("/api/metrics/query", q="{ } | max_over_time(duration)", **window).json()


def test_series_beyond_the_limit_make_the_answer_partial(servers):
    server = servers.start(config={"query_frontend": {"metrics": {"max_response_series": 3}}})
    base = time.time_ns() - 5 * SECOND
    server.must_push(otlp.export(*[
        otlp.span(bytes([i + 1] * 16), bytes([i + 1] * 8), f"op {i}", base, MS) for i in range(5)]))
    body = range_of(server, "{ } | rate() by (name)", {})
    assert len(body["series"]) == 3 and body["status"] == "PARTIAL"
    assert body["message"].startswith("Response exceeds maximum series limit of 3, a partial response is returned.")


def test_every_span_counts_once_while_it_moves(servers):
    """Spans go from live to segments to blocks while they are counted."""
    server = servers.start(config={"ingester": {"trace_idle_period": "50ms", "flush_check_period": "50ms"}})
    base = time.time_ns() - 60 * SECOND
    pushed, wrong, done = 0, [], threading.Event()
    window = {"start": base // SECOND - 60, "end": base // SECOND + 600}

    def flush():
        session = requests.Session()
        while not done.is_set():
            session.get(server.url + "/flush", timeout=30)

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        for round_number in range(250):
            if round_number >= 40 and len(server.block_directories()) > 3:
                break
            spans = [otlp.span(bytes([1, round_number] + [i] * 14), bytes([1] * 6 + [round_number, i]), "op",
                               base + pushed + i, MS) for i in range(25)]
            server.must_push(otlp.export(*spans))
            pushed += len(spans)
            for query in ("{ } | count_over_time()", "{ } | count() > 0 | count_over_time()"):
                ((_, value),) = instant(server, query, window)
                if value != pushed:
                    wrong.append((round_number, query, value, pushed))
    finally:
        done.set()
        flusher.join()
    assert not wrong, wrong
    assert len(server.block_directories()) > 3, "blocks were made meanwhile"


def test_span_that_was_sent_twice_counts_once(servers):
    server = servers.start()
    base = time.time_ns() - 5 * SECOND
    export = otlp.export(*[otlp.span(bytes([7] * 16), bytes([i + 1] * 8), "op", base, MS) for i in range(10)])
    server.must_push(export)
    server.must_push(export)
    window = {"start": base // SECOND - 60, "end": base // SECOND + 60}
    assert instant(server, "{ } | count_over_time()", window) == [({"__name__": "count_over_time"}, 10)]
    server.flush()
    assert instant(server, "{ } | count_over_time()", window) == [({"__name__": "count_over_time"}, 10)]


def test_late_span_counts_at_its_own_time(servers):
    """A span from long before its arrival does not stretch its block's times, but is in it."""
    server = servers.start(config={"storage": {"trace": {"wal": {"ingestion_time_range_slack": "2m"}}}})
    now = time.time_ns() - 5 * SECOND
    late = now - 1800 * SECOND
    server.must_push(otlp.export(otlp.span(bytes([7] * 16), bytes([1] * 8), "late", late, MS),
                                 otlp.span(bytes([8] * 16), bytes([2] * 8), "new", now, MS)))
    window = {"start": late // SECOND - 60, "end": now // SECOND + 60}
    expected = [({"name": "late"}, 1), ({"name": "new"}, 1)]
    assert instant(server, "{ } | count_over_time() by (name)", window) == expected
    server.flush()
    assert instant(server, "{ } | count_over_time() by (name)", window) == expected


def test_span_sent_again_after_its_block_counts_once_in_blocks(servers):
    server = servers.start()
    base = time.time_ns() - 5 * SECOND
    window = {"start": base // SECOND - 60, "end": base // SECOND + 60}
    for last in (10, 15):
        server.must_push(otlp.export(*[otlp.span(bytes([7, i] * 8), bytes([i + 1] * 8), "op", base, MS)
                                       for i in range(last)]))
        server.flush()
    assert len(server.block_directories()) == 2
    for query in ("{ } | count_over_time()", "{ } | count() > 0 | count_over_time()"):
        assert instant(server, query, window) == [({"__name__": "count_over_time"}, 15)]


def test_late_retry_does_not_take_a_span_from_its_trace(servers):
    """Of two blocks with the same span, the one with more of the trace counts it."""
    server = servers.start()
    base = time.time_ns() - 5 * SECOND
    window = {"start": base // SECOND - 60, "end": base // SECOND + 60}
    root = otlp.span(bytes([9] * 16), bytes([1] * 8), "root", base, 10 * MS)
    child = otlp.span(bytes([9] * 16), bytes([2] * 8), "child", base, MS, parent_span_id=root.span_id)
    other = otlp.span(bytes([5] * 16), bytes([3] * 8), "other", base, MS)
    server.must_push(otlp.export(root, child))
    server.flush()
    queries = ["{ } > { } | count_over_time()", '{ rootName = "root" } | count() > 1 | count_over_time()']
    before = [instant(server, query, window) for query in queries]
    server.must_push(otlp.export(child, other))
    server.flush()
    assert len(server.block_directories()) == 2
    assert [instant(server, query, window) for query in queries] == before
    assert instant(server, "{ } | count_over_time()", window) == [({"__name__": "count_over_time"}, 3)]
