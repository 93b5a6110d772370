"""Addresses of Jaeger's UI and of Zipkin's lead to the page that shows the same, at every port that had them."""
import time
import urllib.parse

import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from harness import dialects, otlp
from harness.browser import Visit, need_pages, settled
from harness.ports import free_ports
from harness.servers import Servers
from harness.waiting import eventually

MS = otlp.MILLISECOND
SERVER = otlp.Span.SPAN_KIND_SERVER


class Shop:
    """Two traces of one service, a minute ago: a slow one that failed, and another."""

    def __init__(self, server):
        self.start = time.time_ns() - 60 * 10**9
        failed = Status(code=Status.STATUS_CODE_ERROR)
        self.slow = self._push(server, "GET /Buy", 900, {"http.status_code": 500, "region": "eu west"}, status=failed)
        self.quick = self._push(server, "GET /look", 5, {"http.status_code": 200})

    def _push(self, server, name, millis, attributes, **fields):
        span = otlp.span(name=name, kind=SERVER, start=self.start, duration=millis * MS, attributes=attributes, **fields)
        span.events.add(name="cache miss", time_unix_nano=self.start)
        server.must_push(otlp.export(span, service="Shop"))
        return span.trace_id.hex()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(server, {name: address of a port}, what was pushed). A second server has Jaeger's pages below a path, and no receiver of Zipkin's."""
    below, zipkin = free_ports(2)
    group = Servers(tmp_path_factory.mktemp("ui-links"))
    server = dialects.start(group)
    group.start(name="other", config={"query_frontend": {
        "jaeger": {"http": {"endpoint": f"127.0.0.1:{below}", "base_path": "/jaeger"}}, "zipkin": {"endpoint": f"127.0.0.1:{zipkin}"}}})
    need_pages(server)
    made = Shop(server)
    for trace in (made.slow, made.quick):
        eventually(lambda: server.get(f"/api/traces/{trace}").status_code == 200, "the trace is there")
    ports = {
        "main": server.url, "16686": f"http://127.0.0.1:{server.ports.query_http}", "9411": f"http://127.0.0.1:{zipkin}",
        "16686 below /jaeger": f"http://127.0.0.1:{below}", "receiver": f"http://127.0.0.1:{server.ports.zipkin}",
    }
    yield server, ports, made
    group.close()


def led(server, address):
    """Where a browser ends up that opens an address: path, parameters, and the status of what is there."""
    answer = server.session.get(address, headers={"Accept": "text/html"}, timeout=10)
    assert all(step.status_code == 302 for step in answer.history), answer.history
    target = urllib.parse.urlsplit(answer.url)
    return answer.status_code, target.path, dict(urllib.parse.parse_qsl(target.query))


JAEGER = {
    "": ("/ui/", {}), "search": ("/ui/search", {}),
    "search?traceID={slow}": ("/ui/trace/{slow}", {}),
    "search?traceID={slow}&traceID={quick}": ("/ui/compare/{slow}...{quick}", {}),
    "search?service=Shop&operation=GET%20%2FBuy&tags=%7B%22error%22%3A%22true%22%7D&lookback=2d&minDuration=1ms&limit=5": ("/ui/search", {
        "q": '{ resource.service.name = "Shop" && name = "GET /Buy" && status = error && duration >= 1ms }', "range": "2d", "limit": "5"}),
    "trace/{slow}?uiFind=Buy": ("/ui/trace/{slow}", {"find": "Buy"}),
    "trace/{slow}...{quick}": ("/ui/compare/{slow}...{quick}", {}),
    "trace/...?cohort={slow}": ("/ui/compare", {"a": "{slow}"}),
    "compare": ("/ui/compare", {}), "compare?cohort={slow}&cohort={quick}": ("/ui/compare/{slow}...{quick}", {}),
    "dependencies": ("/ui/map", {}), "deep-dependencies?service=Shop": ("/ui/map", {"focus": "Shop"}),
    "monitor": ("/ui/services", {}), "monitor?service=Shop": ("/ui/services", {"service": "Shop"}),
}
ZIPKIN = {
    "": ("/ui/search", {}), "?lookback=15m": ("/ui/search", {"q": "{ }", "range": "15m"}),
    "?serviceName=shop&spanName=get+%2Fbuy&annotationQuery=error+and+http.status_code%3D500&minDuration=1000&lookback=1h&limit=5": ("/ui/search", {
        "q": '{ resource.service.name =~ "(?i)shop" && name =~ "(?i)get /buy" && status = error && '
             '(.http.status_code = "500" || .http.status_code = 500) && duration >= 1000us }', "range": "1h", "limit": "5"}),
    "traces/{slow}": ("/ui/trace/{slow}", {}),
    "dependency": ("/ui/map", {}), "dependency?startTime=1700000000000&endTime=1700000060000": ("/ui/map", {"from": "1700000000", "to": "1700000060"}),
    "traceViewer": ("/ui/file", {}),
}


def cases():
    for place, root in (("main", "/jaeger/"), ("16686", "/"), ("16686 below /jaeger", "/jaeger/")):
        for path, target in JAEGER.items():
            # Of the main port the first page is our own, which `/jaeger/` leads to.
            expected = ("/ui/search", {}) if (place, path) == ("main", "") else target
            yield place, root + path, expected
    for place in ("main", "9411", "receiver"):
        for path, target in ZIPKIN.items():
            yield place, "/zipkin/" + path, target
    for place in ("9411", "receiver"):
        yield place, "/", ("/ui/", {})
        yield place, "/traces/{slow}", ("/ui/trace/{slow}", {})
        yield place, "/dependency", ("/ui/map", {})
    for place in ("main", "16686 below /jaeger"):
        yield place, "/jaeger", ("/ui/", {}) if place != "main" else ("/ui/search", {})
    for place in ("main", "9411", "receiver"):
        yield place, "/zipkin", ("/ui/search", {})


@pytest.mark.parametrize(("place", "path", "target"), list(cases()), ids=lambda value: value if isinstance(value, str) else "")
def test_address_leads_to_the_page_that_shows_the_same(shop, place, path, target):
    server, ports, made = shop
    ids = {"slow": made.slow, "quick": made.quick}

    def filled(text):
        for name, trace in ids.items():
            text = text.replace("{%s}" % name, trace)
        return text

    prefix = "/jaeger" if place == "16686 below /jaeger" else ""
    page, parameters = target
    found = led(server, ports[place] + filled(path))
    assert found == (200, prefix + filled(page), {name: filled(value) for name, value in parameters.items()})


def test_pages_show_what_the_links_of_both_ask_for(browser, shop):
    server, ports, made = shop
    window = f"start={made.start // 1000 - 10**6}&end={made.start // 1000 + 10**6}"
    seconds = made.start // 10**9
    links = [
        ("16686", f"search?service=Shop&tags=http.status_code%3D500%20region%3D%22eu%20west%22&{window}", made.slow),
        ("16686", f"search?service=Shop&tag=span.kind%3Aserver&maxDuration=100ms&{window}", made.quick),
        ("receiver", f"zipkin/?serviceName=shop&annotationQuery=http.status_code%3D500+and+cache+miss&lookback=15m&endTs={seconds * 1000 + 5000}", made.slow),
        ("receiver", "zipkin/?spanName=get+%2Flook&lookback=1h", made.quick),
    ]
    for place, path, trace in links:
        visited = Visit(browser, ports[place])
        try:
            page = settled(visited.open(path))
            rows = page.locator(".results tbody a")
            rows.first.wait_for()
            assert [row.get_attribute("href") for row in rows.all()] == [f"trace/{trace}"], path
            rows.first.click()
            page.locator(".span-row").first.wait_for()
            assert page.url.startswith(f"{ports[place]}/ui/trace/{trace}")
            visited.check()
        finally:
            visited.close()


def test_two_traces_to_compare_are_asked_for(browser, shop):
    _, ports, made = shop
    visited = Visit(browser, ports["16686"])
    try:
        page = visited.open(f"trace/{made.slow}...")
        first, second = (page.get_by_label(f"Trace id {side}") for side in "AB")
        assert first.input_value() == made.slow
        second.fill("nothing")
        page.get_by_text("not the id of a trace").wait_for()
        assert page.get_by_role("button", name="Compare").is_disabled()
        assert visited.axe() == []
        second.fill(made.quick.upper())
        page.reload()
        page.get_by_role("button", name="Compare").click()
        page.get_by_text("B takes").wait_for()
        assert page.url.endswith(f"/ui/compare/{made.slow}...{made.quick}")
        visited.check()
    finally:
        visited.close()


def test_what_is_no_trace_leads_nowhere(shop):
    server, ports, _ = shop
    for place, path in (("16686", "/trace/<script>"), ("main", "/zipkin/traces/x"), ("9411", "/traces/x"), ("main", "/jaeger/nothing"), ("9411", "/nothing")):
        assert server.session.get(ports[place] + path, allow_redirects=False, timeout=10).status_code == 404, path


def test_pages_at_the_port_of_zipkin_ask_who_it_is(servers):
    users = servers.directory / "users.yaml"
    users.write_text(yaml.safe_dump({"users": [{"name": "reader", "token_sha256": "0" * 64, "tenants": ["a"], "roles": ["read"]}]}))
    server = dialects.start(servers, extra={"multitenancy_enabled": True, "auth": {"enabled": True, "users_file": str(users)}})
    root = f"http://127.0.0.1:{server.ports.zipkin}"
    assert server.session.get(root + "/ui/", headers={"Accept": "text/html"}, timeout=10).status_code == 200
    for path in ("config", "search?q=%7B%20%7D", "queries", "tail?q=%7B%20%7D"):
        answer = server.session.get(f"{root}/ui/api/{path}", timeout=10)
        assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, False), path
    assert server.session.delete(f"{root}/ui/api/queries/x", timeout=10).status_code == 401
