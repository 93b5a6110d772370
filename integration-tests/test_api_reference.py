"""docs/api.md names every route and every gRPC service that there is, and no other: against the code and against a server."""
import pathlib
import re

import grpc
import pytest
import requests

from harness import dialects
from harness.generator import generator
from harness.paths import REPOSITORY
from harness.server import merge

PAGE = (REPOSITORY / "docs" / "api.md").read_text()
# Where the routes of a file are at the main port, or at the port named.
PLACES = {
    "libs/server/src/operational.rs": [("3200", "")],
    "libs/process/src/listeners.rs": [("3200", "")],
    "libs/process/src/cluster/pages.rs": [("3200", "")],
    "libs/overrides/src/http.rs": [("3200", "")],
    "libs/overrides/src/status.rs": [("3200", "")],
    "libs/ui/src/files.rs": [("3200", "")],
    "libs/ui/src/links.rs": [("3200", "/jaeger"), ("3200", "/zipkin"), ("3200", "")],
    "services/ingester/src/downscale.rs": [("3200", "")],
    "services/ingester/src/part.rs": [("3200", "")],
    "services/distributor/src/part.rs": [("3200", "")],
    "services/distributor/src/sampling/answers.rs": [("5778", ""), ("14268", "")],
    "services/metrics-generator/src/part.rs": [("3200", "")],
    "libs/block-lifecycle/src/http.rs": [("3200", "")],
    "libs/query/src/http.rs": [("3200", "")],
    "libs/query/src/http/ui.rs": [("3200", "/ui"), ("3200", "")],
    "libs/query/src/tail_sampling.rs": [("3200", "")],
    "libs/query/src/mcp.rs": [("3200", "")],
    "libs/jaeger-zipkin-query/src/jaeger/http.rs": [("3200", "/jaeger")],
    "libs/jaeger-zipkin-query/src/zipkin.rs": [("3200", "/zipkin")],
    "libs/jaeger-zipkin-query/src/listeners.rs": [("14269", "")],
}
# What the page calls a path that the code spells in another way.
SPELLED = {
    "/api/search/tag/{*name}": "/api/search/tag/{tagName}/values", "/api/v2/search/tag/{*name}": "/api/v2/search/tag/{tagName}/values",
    "&path": "/{ring}/ring",
}
# Ports that take spans.
RECEIVERS = ("4318", "14268", "9411")


def rows(page):
    """The rows of the page's tables: cells by the name of their column, and the port of the section."""
    port, columns = None, None
    for line in page.splitlines():
        if line.startswith("## "):
            port = (re.findall(r"\b[Pp]ort (\d+)", line) or [None])[0]
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if columns is None:
            columns = cells
        elif not set(cells[0]) <= {"-"}:
            yield {"port": port, **dict(zip(columns, cells, strict=False))}


def documented():
    """{(port, path): methods, empty for any}, of the page."""
    found = {}
    for row in rows(PAGE):
        if "method" in row and "path" in row:
            for port in row["port"].split(", "):
                assert (port, row["path"]) not in found, f"twice: {row['path']}"
                found[port, row["path"]] = set() if row["method"] == "any" else set(row["method"].split(", "))
    return found


def shape(path):
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def sources():
    for folder in ("libs", "services"):
        for file in sorted((REPOSITORY / folder).glob("*/src/**/*.rs")):
            if "tests" not in file.stem and "tests" not in file.parts:
                yield str(file.relative_to(REPOSITORY)), file.read_text().partition("\n#[cfg(test)]\nmod tests {")[0]


def routes_of_the_code():
    # The port of tactusctl's checker is no service's: docs/tactusctl.md has it.
    for file, text in sources():
        if file.startswith("services/tactusctl/"):
            continue
        for path in re.findall(r'\.route\(\s*(&\w+|"[^"]*"),', text):
            yield file, SPELLED.get(path.strip('"'), path.strip('"'))


def test_every_route_of_the_code_is_on_the_page():
    known = {(port, shape(path)) for port, path in documented()}
    for file, path in routes_of_the_code():
        assert file in PLACES, f"say in PLACES where the routes of {file} are served"
        places = [(port, shape(prefix + path)) for port, prefix in PLACES[file]]
        assert any(place in known for place in places), f"docs/api.md lacks {path} of {file}"


def test_places_without_routes_are_not_listed():
    assert set(PLACES) == {file for file, _ in routes_of_the_code()}


@pytest.mark.parametrize("receiver", ["otlp_http", "jaeger_http", "zipkin_http"])
def test_every_path_of_a_receiver_is_on_the_page(receiver):
    text = (REPOSITORY / f"libs/receivers/src/{receiver}.rs").read_text()
    paths = re.findall(r'"(/(?:v1|api)?[\w/]*)"', text.partition("#[cfg(test)]")[0])
    assert paths
    for path in paths:
        assert f"`{path}`" in PAGE or f"`POST {path}`" in PAGE, f"docs/api.md lacks {path} of {receiver}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with everything that has routes or services turned on."""
    from harness.servers import Servers
    directory = tmp_path_factory.mktemp("api")
    group = Servers(directory)
    yield dialects.start(group, extra=merge(generator(directory), {
        "compactor": {"jobs": {"api_enabled": True}},
        "distributor": {"usage": {"cost_attribution": {"enabled": True}}},
        "query_frontend": {"mcp_server": {"enabled": True}},
        "overrides": {"user_configurable_overrides": {
            "enabled": True, "client": {"backend": "local", "local": {"path": str(directory / "limits")}}}},
    }))
    group.close()


def ports(server):
    """The server's ports by the default ones."""
    named = server.ports
    return {
        "3200": server.http_port, "9095": server.grpc_port, "4317": server.otlp_grpc_port, "4318": server.otlp_http_port,
        "14250": named.jaeger_grpc, "14268": named.thrift_http, "9411": named.zipkin, "16685": named.query_grpc,
        "7777": named.storage_grpc, "14269": named.admin, "5778": named.sampling_http, "5779": named.sampling_grpc,
    }


def test_every_route_of_the_page_answers_to_its_methods_alone(server):
    values = {"name": "version", "ring": "ingester", "path": "search", "tagName": "name", "kind": "calls"}
    for (port, path), methods in documented().items():
        url = f"http://127.0.0.1:{ports(server)[port]}" + re.sub(r"\{(\w+)\}", lambda part: values.get(part[1], "1"), path)
        if path.startswith("/jaeger/api") and not methods:
            continue  # These are 404 by what the page says.
        if port in RECEIVERS and methods == {"POST"}:
            # Beside it the port may have a query API, which takes other methods of the same path.
            assert requests.post(url, timeout=30).status_code in (200, 202, 400, 415), path
            continue
        # A method that nobody has a use for: routes with methods of their own say which these are, and do nothing.
        answer = requests.request("TRACE", url, timeout=30, allow_redirects=False)
        if not methods:
            assert answer.status_code != 405 and "404 page not found" not in answer.text, f"{path}: {answer.status_code}"
            continue
        assert answer.status_code == 405, f"{path}: {answer.status_code} {answer.text}"
        allowed = {method for method in answer.headers["Allow"].split(",") if method != "HEAD"}
        assert allowed == methods, f"{path} takes {allowed}"


def test_server_lists_the_endpoints_of_the_page_and_no_other(server):
    known = {shape(path) for port, path in documented() if port == "3200"}
    listed = re.findall(r"(/\S*)", server.get("/status/endpoints").text.partition("API documentation")[0])
    listed = {shape(re.sub(r"^/[\w-]+/ring$", "/{ring}/ring", path)) for path in listed}
    assert not listed - known, "docs/api.md lacks these"
    assert not known - listed, "/status/endpoints lacks these"


def methods_of_services():
    """The methods of every service that our definitions have, as paths, by service."""
    found = {}
    for file in sorted((REPOSITORY / "proto").rglob("*.proto")):
        text = re.sub(r"//[^\n]*", "", file.read_text())
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)[1]
        for name, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            found[f"{package}.{name}"] = re.findall(r"rpc (\w+)", body)
    return found


def serves(channel, service, method):
    """Whether a port knows a method: what it does not know it refuses without a text, or as unknown."""
    call = channel.stream_stream(f"/{service}/{method}")(iter([b""]), timeout=1, metadata=[("x-scope-orgid", "single-tenant")])
    try:
        next(call, None)
        return True
    except grpc.RpcError as error:
        text = error.details() or "unknown method"
        return error.code() != grpc.StatusCode.UNIMPLEMENTED or not text.startswith("unknown method")
    finally:
        call.cancel()


def test_every_grpc_service_of_a_port_is_on_the_page_and_no_other(server):
    listed = {(row["port"], row["service"]) for row in rows(PAGE) if "service" in row and "path" not in row}
    found = set()
    for port in sorted({port for port, _ in listed}):
        with grpc.insecure_channel(f"127.0.0.1:{ports(server)[port]}") as channel:
            assert not serves(channel, "tactus.v1.Nothing", "Nothing")
            for service, methods in methods_of_services().items():
                if any(serves(channel, service, method) for method in methods):
                    found.add((port, service))
    assert found == listed


def test_definitions_name_the_services_that_the_page_names():
    named = {row["service"] for row in rows(PAGE) if "service" in row and "path" not in row}
    assert named <= set(methods_of_services())


def test_paths_of_the_page_are_those_of_the_examples():
    """What other pages ask by curl is a route, too."""
    known = [re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) + "$") for _, path in documented()]
    for page in sorted(pathlib.Path(REPOSITORY / "docs").rglob("*.md")):
        for path in re.findall(r"127\.0\.0\.1:3200(/[\w/.{}$-]*)", page.read_text()):
            path = re.sub(r"\$\{?\w+\}?", "1", path)
            assert any(pattern.match(path) for pattern in known) or path.startswith("/ui/"), f"{page.name}: {path}"


@pytest.mark.parametrize(("method", "path", "status", "text"), [
    ("GET", "/api/search?q=%7B", 400, "invalid TraceQL query: parse error at line 1, col 2: "),
    ("GET", "/nowhere", 404, "404 page not found"),
    ("GET", "/api/traces/1", 404, ""),
    ("PUT", "/api/jobs", 405, ""),
    ("GET", "/api/metrics/summary", 404, "metrics summary not supported"),
    ("POST", "/jaeger/api/archive/1", 501, ""),
    ("GET", "/jaeger/api/quality-metrics", 501, ""),
])
def test_errors_are_those_of_the_page(server, method, path, status, text):
    answer = requests.request(method, server.url + path, timeout=30)
    assert (answer.status_code, answer.text[:len(text)]) == (status, text)
    if text:
        assert text.strip() in PAGE


def test_parameters_of_queries_are_those_that_the_code_reads():
    folder = REPOSITORY / "libs" / "api" / "src"
    files = [folder / "request.rs", *(folder / "request").rglob("*.rs")]
    text = "".join(file.read_text().partition("#[cfg(test)]")[0] for file in files if "tests" not in file.parts and file.stem != "tests")
    listed = {name for row in rows(PAGE) if "parameter" in row for name in re.findall(r"\w+", row["parameter"].replace("else", ""))}
    assert len(listed) > 15
    unread = {name for name in listed if f'"{name}"' not in text}
    assert not unread, f"docs/api.md names {unread}, which nothing reads"
    read = set(re.findall(r'params\.(?:get|text|number)\(\s*"(\w+)"', text))
    unnamed = {name for name in read if f"`{name}`" not in PAGE}
    assert not unnamed, f"docs/api.md lacks {unnamed}"
