"""Every page on the dataset of the conformance cases: what it shows is what was pushed."""
import collections
import itertools
import time
import urllib.parse

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from harness import otlp
from harness.browser import Visit, serving_pages, settled
from harness.dataset import push_dataset

CONFIG = {"query_frontend": {"metrics": {"query_backend_after": "1s"}}}
Row = collections.namedtuple("Row", "service span")


class Shop:
    """What was pushed, by trace id in hex, and a window that has all of it."""

    def __init__(self, base, pushed):
        self.traces = collections.defaultdict(list)
        for group in itertools.chain.from_iterable(request.resource_spans for request in pushed):
            service = next(a.value.string_value for a in group.resource.attributes if a.key == "service.name")
            for span in itertools.chain.from_iterable(scope.spans for scope in group.scope_spans):
                self.traces[span.trace_id.hex()].append(Row(service, span))
        self.window = {"from": base - 660, "to": base + 60}

    @property
    def rows(self):
        return list(itertools.chain.from_iterable(self.traces.values()))

    @property
    def services(self):
        return {row.service for row in self.rows}

    def widest(self, count):
        """Ids of the traces with most services."""
        return sorted(self.traces, key=lambda trace: -len({row.service for row in self.traces[trace]}))[:count]

    def path(self, page, **values):
        return f"ui/{page}?" + urllib.parse.urlencode(values | self.window)


@pytest.fixture(scope="module", params=["blocks", "live spans"])
def held(request, tmp_path_factory):
    """A server that has the dataset, in blocks or in memory; and the dataset."""
    with serving_pages(tmp_path_factory.mktemp("ui-dataset"), CONFIG) as server:
        shop = Shop(*push_dataset(server))
        if request.param == "blocks":
            server.flush()
        yield server, shop


@pytest.fixture
def visit(browser, held):
    made = Visit(browser, held[0].url)
    yield made
    made.close()


def failed(row):
    return row.span.status.code == Status.STATUS_CODE_ERROR


def number(text):
    """Of digits with any kind of space between thousands."""
    return int("".join(text.split()))


def cells(row):
    return [cell.strip() for cell in row.inner_text().split("\t")]


def test_search_finds_the_traces_that_have_such_a_span(held, visit):
    _, shop = held
    wanted = {trace for trace, rows in shop.traces.items()
              if any(row.service == "payment" and failed(row) for row in rows)}
    assert 0 < len(wanted) <= 20
    page = settled(visit.open(shop.path("search", q='{ resource.service.name = "payment" && status = error }')))
    page.locator(".results tbody tr").first.wait_for()
    links = page.locator(".results tbody a[href*='trace/']").all()
    found = {urllib.parse.urlsplit(link.get_attribute("href")).path.rsplit("/", 1)[1] for link in links}
    assert {trace.zfill(32) for trace in found} == wanted
    visit.check()


def test_trace_has_its_spans_services_and_errors_in_every_view(held, visit):
    _, shop = held
    trace = shop.widest(1)[0]
    rows = shop.traces[trace]
    errors, services = sum(map(failed, rows)), {row.service for row in rows}
    page = settled(visit.open(f"ui/trace/{trace}"))
    head = page.locator(".trace-head").inner_text()
    assert f"{len(rows)} spans · {len(services)} services" in head, head
    assert not errors or f"✕ {errors} error" in head, head
    page.locator(".findings li").first.wait_for()
    page.get_by_role("button", name="Table", exact=True).click()
    page.locator("main tbody tr").first.wait_for()
    assert sum(number(cells(row)[1]) for row in page.locator("main tbody tr").all()) == len(rows)
    page.get_by_role("button", name="Flame graph").click()
    page.locator(".box").first.wait_for()
    page.get_by_role("button", name="Map", exact=True).click()
    page.locator(".map").wait_for()
    assert page.locator(".map a").count() == len(services)
    visit.check()


def test_two_traces_are_compared(held, visit):
    _, shop = held
    a, b = shop.widest(2)
    page = settled(visit.open(f"ui/compare/{a}...{b}"))
    page.get_by_text("B takes").wait_for()
    text = page.locator("main").inner_text()
    for trace in (a, b):
        assert trace in text and f"{len(shop.traces[trace])} spans" in text, text
    assert page.locator("main tbody tr").count() > 0
    visit.check()


def test_services_and_their_operations_are_all_there(held, visit):
    _, shop = held
    serving = {row.service for row in shop.rows if row.span.kind in (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)}
    page = settled(visit.open(shop.path("services")))
    page.locator("main tbody tr").first.wait_for()
    text = page.locator("main").inner_text()
    assert serving and all(service in text for service in serving), text
    assert page.locator("main tbody tr").count() >= len(serving)
    page = settled(visit.open(shop.path("services", service="cart")))
    page.locator("main tbody tr").first.wait_for()
    operations = {row.span.name for row in shop.rows if row.service == "cart" and row.span.kind == Span.SPAN_KIND_SERVER}
    text = page.locator("main").inner_text()
    assert operations and all(operation in text for operation in operations), text
    visit.check()


def test_map_has_the_calls_between_services(held, visit):
    _, shop = held
    calls = collections.Counter()
    for rows in shop.traces.values():
        owners = {row.span.span_id: row for row in rows}
        for row in rows:
            caller = owners.get(row.span.parent_span_id)
            if row.span.kind == Span.SPAN_KIND_SERVER and caller and caller.span.kind == Span.SPAN_KIND_CLIENT:
                calls[caller.service, row.service] += 1
    page = settled(visit.open(shop.path("map")))
    page.locator("main tbody tr").first.wait_for()
    shown = {}
    for row in page.locator("main tbody tr").all():
        caller, called, count, *_ = cells(row)
        shown[caller.split(maxsplit=1)[1], called.split(maxsplit=1)[1]] = number(count)
    assert {pair: shown.get(pair) for pair in calls} == calls
    visit.check()


def test_metrics_are_drawn_and_add_up(held, visit):
    _, shop = held
    page = visit.open(shop.path("explore", q="{ } | count_over_time() by (resource.service.name)", view="table"))
    page.locator(".streaming").wait_for(state="detached")
    settled(page)
    page.locator("tbody tr").first.wait_for()
    columns = page.locator("thead th").all_inner_texts()
    counts = collections.Counter(row.service for row in shop.rows)
    table = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("tbody tr").all()]
    for service, count in counts.items():
        at = next(n for n, title in enumerate(columns) if title.endswith("=" + service)) - len(columns)
        assert sum(number(line[at]) for line in table if line[at].strip(" –")) == count, service
    page.get_by_role("button", name="Lines").click()
    page.locator(".plot canvas").wait_for()
    visit.check()


def test_live_tail_and_status_show_what_comes(held, visit):
    server, _ = held
    page = visit.open("ui/live")
    page.get_by_text("Matching spans appear here").wait_for()
    server.must_push(otlp.export(otlp.span(name="another order", start=time.time_ns()), service="cart"))
    page.locator(".live tbody tr", has_text="another order").wait_for()
    page = settled(visit.open("ui/status"))
    assert "single-tenant" in page.locator("main").inner_text()
    visit.check()
