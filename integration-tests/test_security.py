"""TLS, certificates that change, callers with roles and tenants, and clients that mean harm; on the built binary."""
import base64
import contextlib
import hashlib
import http.client
import resource
import socket
import ssl
import time

import grpc
import pytest
import requests
import yaml
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from harness import dialects, otlp
from harness.certificates import Certificates
from harness.cluster import Cluster
from harness.ports import free_ports
from harness.server import Tactus, merge
from harness.streaming import StreamingClient
from harness.waiting import eventually

PASSWORD = "correct horse battery"
PASSWORD_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$YdpFfTn/WfislsoMg1jtkw$au6+rm+NygmL7ZFddIsdtgipvHIENBcCeV/l2uTwgiY")
INTERNAL_TOKEN = "between-ourselves-0123456789"
PROTOBUF = {"Content-Type": "application/x-protobuf"}


SAMPLING = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy"
HEALTH = "/grpc.health.v1.Health/Check"


def bearer(name):
    return {"Authorization": f"Bearer {name}-token"}


def user(name, tenants, roles, **extra):
    token = hashlib.sha256(f"{name}-token".encode()).hexdigest()
    return {"name": name, "token_sha256": token, "tenants": tenants, "roles": roles, **extra}


USERS = [
    user("operator", "*", ["read", "write", "admin"]),
    user("reader", ["a"], ["read"], password_hash=PASSWORD_HASH),
    user("writer", ["a"], ["write"]),
    user("owner", ["a"], ["admin"]),
    user("other", ["b"], ["read", "write"]),
]


class SecureTactus(Tactus):
    """A server whose callers say who they are, and with TLS on every port if there are certificates."""

    certificates = None

    def __init__(self, directory, config=None, certificates=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.certificates = certificates
        self.users_file = directory / "users.yaml"
        self.write_users(USERS)
        token = directory / "internal-token"
        token.write_text(INTERNAL_TOKEN + "\n")
        auth = {
            "multitenancy_enabled": True,
            "compactor": {"jobs": {"api_enabled": True}},
            "auth": {
                "enabled": True, "users_file": str(self.users_file), "internal_token_file": str(token),
                "reload_interval": "100ms",
            },
        }
        super().__init__(directory, merge(merge(auth, self._tls()), config or {}))
        self.session.headers.update(bearer("operator"))
        if certificates:
            # The environment may name other authorities.
            self.session.trust_env = False
            self.session.verify = str(certificates.authority)

    def write_users(self, users):
        self.users_file.write_text(yaml.safe_dump({"users": users}))

    def _tls(self):
        if not self.certificates:
            return {}
        files = {"cert_file": str(self.certificates.certificate), "key_file": str(self.certificates.key)}
        protocols = {name: {"tls": {**files, "reload_interval": "100ms"}} for name in ("grpc", "http")}
        return {
            "server": {"http_tls_config": files, "grpc_tls_config": files, "tls_reload_interval": "100ms"},
            "distributor": {"receivers": {"otlp": {"protocols": protocols}}},
        }

    @property
    def scheme(self):
        return "https" if self.certificates else "http"

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.http_port}"

    @property
    def otlp_url(self):
        return f"{self.scheme}://127.0.0.1:{self.otlp_http_port}"

    def ask(self, method, path, headers, port="url"):
        """As a client without anything of ours."""
        return requests.request(
            method, getattr(self, port) + path, headers=headers, timeout=30,
            verify=str(self.certificates.authority) if self.certificates else True)


@pytest.fixture
def guarded(tmp_path):
    # All that can be logged is, for the search for secrets.
    server = SecureTactus(
        tmp_path / "guarded", config={"server": {"log_level": "debug"}, "query_frontend": {"mcp_server": {"enabled": True}}}).start()
    yield server
    server.close()


@pytest.fixture
def encrypted(tmp_path):
    server = SecureTactus(tmp_path / "encrypted", certificates=Certificates(tmp_path)).start()
    yield server
    server.close()


def with_dialects(directory, extra=None, certificates=None):
    """A server with the ports of Jaeger's and Zipkin's clients as `ports`; packets of one of them are tenant a's."""
    ports = dialects.Ports()
    tenant = {"distributor": {"receivers": {"jaeger": {"protocols": {"thrift_binary": {"tenant": "a"}}}}}}
    config = merge(merge(dialects.config(ports), tenant), extra or {})
    server = SecureTactus(directory, config=config, certificates=certificates)
    server.ports = ports
    return server.start()


@pytest.fixture
def guarded_dialects(tmp_path):
    server = with_dialects(tmp_path / "dialects")
    yield server
    server.close()


# --- who may do what -------------------------------------------------------------------------------------------------


def test_every_route_asks_for_its_role(guarded):
    cases = [
        # method, path, then the status for nobody, reader, writer, owner, other and operator
        ("GET", "/ready", [200] * 6),
        ("GET", "/api/echo", [401, 200, 200, 200, 200, 200]),
        ("GET", "/api/status/buildinfo", [401, 200, 200, 200, 200, 200]),
        ("GET", "/api/search?q={}", [401, 200, 403, 403, 403, 200]),
        ("GET", "/api/v2/search/tags", [401, 200, 403, 403, 403, 200]),
        ("GET", "/api/v2/traces/1234", [401, 200, 403, 403, 403, 200]),
        ("GET", "/api/metrics/query_range?q={}|rate()", [401, 200, 403, 403, 403, 200]),
        ("POST", "/api/mcp", [401, 400, 403, 403, 403, 400]),
        ("DELETE", "/api/mcp", [401, 200, 403, 403, 403, 200]),
        ("GET", "/api/jobs", [401, 403, 403, 200, 403, 200]),
        ("GET", "/metrics", [401, 403, 403, 403, 403, 200]),
        ("GET", "/status/config", [401, 403, 403, 403, 403, 200]),
        ("GET", "/status/overrides/b", [401, 403, 403, 403, 403, 200]),
        ("POST", "/log_level?log_level=info", [401, 403, 403, 403, 403, 200]),
        ("GET", "/flush", [401, 403, 403, 403, 403, 204]),
        ("GET", "/shutdown", [401, 403, 403, 403, 403, None]),
    ]
    callers = [None, "reader", "writer", "owner", "other", "operator"]
    for method, path, statuses in cases:
        for caller, status in zip(callers, statuses):
            if status is None:
                continue
            headers = {"X-Scope-OrgID": "a", **(bearer(caller) if caller else {})}
            answer = guarded.ask(method, path, headers)
            assert answer.status_code == status, (path, caller, answer.status_code, answer.text)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_tenant_comes_from_the_caller_and_others_are_closed(guarded):
    trace_id = "00000000000000000000000000000a11"
    body = otlp.export(otlp.span(bytes.fromhex(trace_id))).SerializeToString()

    def send(name, **headers):
        headers = {**PROTOBUF, **bearer(name), **headers}
        return requests.post(guarded.otlp_url + "/v1/traces", data=body, headers=headers, timeout=30).status_code

    def spans(name, **headers):
        answer = guarded.ask("GET", f"/api/v2/traces/{trace_id}", {**bearer(name), **headers})
        assert answer.status_code == 200, answer.text
        return str(answer.json().get("trace", "")).count("spanId") or str(answer.json()).count("traceId")

    assert send("writer") == 200
    assert send("writer", **{"X-Scope-OrgID": "b"}) == 403
    assert send("reader") == 403
    assert send("nobody") == 401
    assert spans("reader") > 0
    assert spans("other") == 0
    assert spans("operator", **{"X-Scope-OrgID": "a"}) > 0
    assert guarded.ask("GET", "/api/search?q={}", {**bearer("reader"), "X-Scope-OrgID": "a|b"}).status_code == 403
    assert guarded.ask("GET", "/api/search?q={}", bearer("operator")).status_code == 401


def test_repeated_headers_count_once_if_they_are_equal(guarded):
    # Grafana 13.0.1 to 13.1.3 sends the headers of a data source twice over gRPC.
    def statuses(*headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", guarded.http_port, timeout=30)) as connection:
            connection.putrequest("GET", "/api/search?q=%7B%7D")
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            status = connection.getresponse().status
        with StreamingClient(guarded.grpc_port) as client:
            return status, client.call("Search", Query="{}", metadata=headers).code.name

    reader, operator = (("authorization", f"Bearer {name}-token") for name in ("reader", "operator"))
    a, b = ("x-scope-orgid", "a"), ("x-scope-orgid", "b")
    password = ("authorization", "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode())
    assert statuses(reader, reader, a, a) == (200, "OK")
    assert statuses(password, password, a) == (200, "OK")
    assert statuses(reader, operator, a) == statuses(operator, reader, a) == statuses(reader, password, a) == (401, "UNAUTHENTICATED")
    assert statuses(operator, a, b) == statuses(reader, a, b) == (400, "INVALID_ARGUMENT")
    joined = ("authorization", "Bearer reader-token,Bearer reader-token")
    assert statuses(joined, a) == (401, "UNAUTHENTICATED")


def test_password_works_and_guessing_is_slowed_down(guarded):
    def status(password):
        basic = base64.b64encode(f"reader:{password}".encode()).decode()
        return guarded.ask("GET", "/api/search?q={}", {"Authorization": f"Basic {basic}"}).status_code

    assert status(PASSWORD) == 200
    guesses = []
    while 429 not in guesses:
        guesses.append(status(f"guess {len(guesses)}"))
        assert len(guesses) < 100, guesses
    assert set(guesses[:10]) == {401}, guesses
    assert status(PASSWORD) == 200
    begun = time.monotonic()
    for _ in range(50):
        assert status(PASSWORD) == 200
    assert time.monotonic() - begun < 2, "a password that was checked is remembered"


def test_changed_users_count_without_a_restart(guarded):
    path = "/api/search?q={}"
    assert guarded.ask("GET", path, bearer("reader")).status_code == 200
    guarded.users_file.write_text("users: [")
    assert guarded.ask("GET", path, bearer("reader")).status_code == 200
    guarded.write_users([u for u in USERS if u["name"] != "reader"] + [user("new", ["a"], ["read"])])
    eventually(lambda: guarded.ask("GET", path, bearer("reader")).status_code == 401, "the caller is gone")
    assert guarded.ask("GET", path, bearer("new")).status_code == 200


def test_calls_between_services_are_for_services(guarded):
    channel = grpc.insecure_channel(f"127.0.0.1:{guarded.grpc_port}")
    identity = lambda body: body  # noqa: E731

    def code(method, *metadata):
        call = channel.unary_unary(method, request_serializer=identity, response_deserializer=identity)
        try:
            call(b"", metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    operator = ("authorization", "Bearer operator-token")
    tenant = ("x-scope-orgid", "a")
    internal = ("x-tactus-internal-token", INTERNAL_TOKEN)
    assert code("/grpc.health.v1.Health/Check") == "OK"
    assert code("/tactus.v1.Ingester/Tags", tenant) == "UNAUTHENTICATED"
    assert code("/tactus.v1.Ingester/Tags", tenant, operator) == "UNAUTHENTICATED"
    assert code("/tactus.v1.Ingester/Tags", tenant, ("x-tactus-internal-token", "x" * 20)) == "UNAUTHENTICATED"
    assert code("/tactus.v1.Ingester/Tags", tenant, internal) not in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    assert code("/tactus.v1.Ingester/Tags", tenant, internal, ("x-tactus-internal-token", "x" * 20)) == "UNAUTHENTICATED"
    assert code("/no.Such/Thing", operator) == "UNAUTHENTICATED"
    for method in ("/tempopb.StreamingQuerier/SearchTags", "/tempopb.Querier/FindTraceByID"):
        assert code(method, tenant) == "UNAUTHENTICATED"
        assert code(method, ("authorization", "Bearer writer-token")) == "PERMISSION_DENIED"
    channel.close()


def test_page_of_another_site_changes_nothing_with_the_credentials_of_a_browser(guarded):
    browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", **bearer("operator")}
    elsewhere = {**browser, "Origin": "http://evil.example"}
    here = {**browser, "Origin": guarded.url}
    for method, path, headers, status in [
        # An image of that address: the browser says nothing of where it stands.
        ("GET", "/flush", browser, 403),
        ("GET", "/shutdown", browser, 403),
        ("GET", "/shutdown", {**browser, "Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/flush", elsewhere, 403),
        ("POST", "/log_level?log_level=info", elsewhere, 403),
        ("POST", "/api/jobs", {**elsewhere, "X-Scope-OrgID": "a"}, 403),
        ("GET", "/status/services", browser, 200),
        ("POST", "/flush", here, 204),
        ("GET", "/flush", {**browser, "Sec-Fetch-Site": "none"}, 204),
        ("GET", "/flush", {**bearer("operator"), "User-Agent": "curl/8.5.0"}, 204),
    ]:
        answer = guarded.ask(method, path, headers)
        assert answer.status_code == status, (method, path, headers, answer.status_code, answer.text)


def test_secrets_are_shown_nowhere(guarded):
    trace = requests.post(
        guarded.otlp_url + "/v1/traces", data=b"\xff", headers={**PROTOBUF, **bearer("writer")}, timeout=30)
    assert trace.status_code == 400
    guarded.ask("GET", "/api/search?q={", {"Authorization": "Bearer reader-token"})
    with grpc.insecure_channel(f"127.0.0.1:{guarded.grpc_port}") as channel:
        call = channel.unary_unary("/tactus.v1.Ingester/Tags", lambda body: body, lambda body: body)
        metadata = [("x-scope-orgid", "a"), ("x-tactus-internal-token", INTERNAL_TOKEN), ("authorization", "Bearer operator-token")]
        with contextlib.suppress(grpc.RpcError):
            call(b"", metadata=metadata, timeout=30)
    guarded.ask("GET", "/api/search?q={}", {"Authorization": "Basic cmVhZGVyOnNvbWV0aGluZy13cm9uZw=="})
    shown = guarded.get("/status/config").text + guarded.get("/metrics").text + guarded.get("/status").text
    shown += trace.text + guarded.logs()
    secrets = [INTERNAL_TOKEN, PASSWORD_HASH, "reader-token", "operator-token", "cmVhZGVyOnNvbWV0", "something-wrong"]
    for secret in secrets:
        assert secret not in shown, secret


def test_start_with_a_broken_users_file_fails_and_names_it(tmp_path):
    server = SecureTactus(tmp_path / "broken")
    server.users_file.write_text("users: [{name: x, password_hash: hunter2, tenants: [a], roles: [read]}]")
    server.spawn()
    assert server.process.wait(30) != 0
    assert "auth.users_file" in server.logs() and "users[0]: password_hash" in server.logs()
    assert "hunter2" not in server.logs()


def test_certificate_without_its_key_does_not_start_in_plain_text(servers):
    tls = {"cert_file": "/tls/tls.crt", "client_ca_file": "/tls/ca.crt", "client_auth_type": "RequireAndVerifyClientCert"}
    server = servers.new(config={"server": {"http_tls_config": tls}})
    server.spawn()
    assert server.process.wait(30) != 0
    assert "server.http_tls_config.key_file is not set" in server.logs()


# --- ports of Jaeger's and Zipkin's clients ---------------------------------------------------------------------------


def test_dialects_over_http_ask_for_their_roles(guarded_dialects):
    thrift = ("application/x-thrift", dialects.BATCH)
    zipkin = ("application/json", b'[{"traceId": "a1", "id": "1", "name": "work"}]')
    read, write, operate, everyone = (
        [401, 401, 200, 403, 200], [401, 401, 403, 202, 202], [401, 401, 403, 403, 200], [200] * 5)
    cases = [
        # port, path, the body of a POST, then the status for nobody, a stranger, reader, writer and operator
        ("thrift_http", "/api/traces", thrift, write),
        ("thrift_http", "/api/sampling?service=x", None, everyone),
        ("zipkin", "/api/v2/spans", zipkin, write),
        ("zipkin", "/api/v1/spans", ("application/json", b"[]"), write),
        ("zipkin", "/api/v2/services", None, read),
        ("zipkin", "/api/v2/traces", None, read),
        ("zipkin", "/zipkin/api/v2/services", None, read),
        ("zipkin", "/health", None, everyone),
        ("query_http", "/api/services", None, read),
        ("query_http", "/api/traces?service=x", None, read),
        ("query_http", "/api/v3/services", None, read),
        ("admin", "/", None, everyone),
        ("admin", "/metrics", None, operate),
        ("sampling_http", "/sampling?service=x", None, everyone),
        ("sampling_http", "/?service=x", None, everyone),
        ("sampling_http", "/baggageRestrictions?service=x", None, everyone),
    ]
    for name, path, body, statuses in cases:
        url = f"http://127.0.0.1:{getattr(guarded_dialects.ports, name)}{path}"
        for caller, status in zip([None, "stranger", "reader", "writer", "operator"], statuses, strict=True):
            headers = {"X-Scope-OrgID": "a", **(bearer(caller) if caller else {})}
            if body:
                media_type, payload = body
                answer = requests.post(url, data=payload, headers={"Content-Type": media_type, **headers}, timeout=30)
            else:
                answer = requests.get(url, headers=headers, timeout=30)
            assert answer.status_code == status, (name, path, caller, answer.status_code, answer.text)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_dialects_over_grpc_ask_for_their_roles(guarded_dialects):
    ports = guarded_dialects.ports

    def code(port, method, *metadata, message=b""):
        with grpc.insecure_channel(f"127.0.0.1:{getattr(ports, port)}") as channel:
            call = channel.unary_unary(method, lambda body: body, lambda body: body)
            try:
                call(message, metadata=[("x-scope-orgid", "a"), *metadata], timeout=30)
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

    def token(name):
        return ("authorization", f"Bearer {name}-token")

    cases = [
        ("jaeger_grpc", "/jaeger.api_v2.CollectorService/PostSpans", "writer"),
        ("query_grpc", "/jaeger.api_v2.QueryService/GetServices", "reader"),
        ("query_grpc", "/jaeger.api_v3.QueryService/GetServices", "reader"),
        ("storage_grpc", "/jaeger.storage.v1.SpanReaderPlugin/GetServices", "reader"),
        ("storage_grpc", "/jaeger.storage.v2.TraceReader/GetServices", "reader"),
        ("storage_grpc", "/jaeger.storage.v1.SpanWriterPlugin/Close", "writer"),
        ("storage_grpc", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", "writer"),
    ]
    for port, method, role in cases:
        other = "writer" if role == "reader" else "reader"
        expected = [(role, "OK"), ("operator", "OK"), (other, "PERMISSION_DENIED"), ("stranger", "UNAUTHENTICATED")]
        assert code(port, method) == "UNAUTHENTICATED", method
        for caller, status in expected:
            assert code(port, method, token(caller)) == status, (method, caller)
    for port in ("query_grpc", "storage_grpc"):
        assert code(port, HEALTH) == "OK"
        assert code(port, "/no.Such/Thing", token("operator")) == "UNAUTHENTICATED"
    for port in ("jaeger_grpc", "sampling_grpc"):
        for metadata in ([], [token("stranger")], [token("reader")]):
            assert code(port, SAMPLING, *metadata, message=b"\x0a\x01x") == "OK", (port, metadata)
    # A Jaeger in front hands its user's token on. It is no credential elsewhere.
    services = "/jaeger.storage.v1.SpanReaderPlugin/GetServices"
    handed_on = {"reader": "OK", "writer": "PERMISSION_DENIED", "stranger": "UNAUTHENTICATED"}
    for caller, status in handed_on.items():
        assert code("storage_grpc", services, ("bearer.token", f"{caller}-token")) == status, caller
    assert code("query_grpc", "/jaeger.api_v2.QueryService/GetServices", ("bearer.token", "reader-token")) == "UNAUTHENTICATED"
    assert "reader-token" not in guarded_dialects.logs()


def test_packets_are_dropped_unless_their_port_has_a_tenant(guarded_dialects):
    ports = guarded_dialects.ports
    dropped = "tactus_receiver_dropped_packets_total"
    before = guarded_dialects.metric(dropped)
    for port, payload in ((ports.compact, dialects.COMPACT), (ports.legacy, dialects.BINARY)):
        dialects.datagram(port, payload)
    eventually(lambda: guarded_dialects.metric(dropped) == before + 2, "both packets are dropped and counted")

    def stored():
        answer = guarded_dialects.ask("GET", f"/api/v2/traces/{dialects.TRACE}", bearer("reader"))
        assert answer.status_code in (200, 404), answer.text
        return "svc" in answer.text

    assert not stored()
    dialects.datagram(ports.binary, dialects.BINARY)
    eventually(stored, "the packet is its port's tenant's")
    assert guarded_dialects.metric(dropped) == before + 2


def test_dialects_speak_tls(tmp_path):
    certificates = Certificates(tmp_path)
    tls = {"tls": {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}}
    server = with_dialects(tmp_path / "dialects", certificates=certificates, extra={
        "distributor": {"receivers": {"jaeger": {"protocols": {"thrift_http": tls}}, "zipkin": tls}},
        "query_frontend": {"jaeger": {"http": tls, "grpc": tls}},
    })
    try:
        ports = server.ports
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        other = Certificates(stranger).authority
        cases = [
            (ports.thrift_http, "/api/traces", dialects.BATCH, "application/x-thrift"),
            (ports.zipkin, "/api/v2/spans", b"[]", "application/json"),
            (ports.query_http, "/api/services", None, None),
        ]
        for port, path, body, media_type in cases:
            def ask(scheme, authority):
                headers = {"X-Scope-OrgID": "a", "Content-Type": media_type, **bearer("operator")}
                url = f"{scheme}://127.0.0.1:{port}{path}"  # noqa: B023
                method = "GET" if body is None else "POST"  # noqa: B023
                return requests.request(method, url, data=body, headers=headers, verify=str(authority), timeout=30)  # noqa: B023

            answer = ask("https", certificates.authority)
            assert answer.status_code in (200, 202), answer.text
            with pytest.raises(requests.exceptions.SSLError):
                ask("https", other)
            in_clear = ask("http", certificates.authority)
            assert in_clear.status_code == 400 and in_clear.text.startswith("this port speaks TLS: ")

        def services(channel):
            call = channel.unary_unary("/jaeger.api_v2.QueryService/GetServices", lambda body: body, lambda body: body)
            return call(b"", metadata=[("authorization", "Bearer reader-token")], timeout=10)

        target = f"127.0.0.1:{ports.query_grpc}"
        with grpc.secure_channel(target, grpc.ssl_channel_credentials(certificates.authority.read_bytes())) as channel:
            eventually(lambda: b"svc" in services(channel), "the span that came by TLS is found by TLS")
        for channel in (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(other.read_bytes())), grpc.insecure_channel(target),
        ):
            with channel, pytest.raises(grpc.RpcError) as refused:
                services(channel)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        server.close()


def test_query_and_sampling_ports_have_the_tls_of_the_server(tmp_path):
    """Without TLS of their own: who has no certificate reads nothing there either, except where plain text is asked for."""
    certificates, ports = Certificates(tmp_path), dialects.Ports()
    zipkin, plain = free_ports(2)
    mutual = {"client_ca_file": str(certificates.authority), "client_auth_type": "RequireAndVerifyClientCert"}
    server = SecureTactus(tmp_path / "mutual", certificates=certificates, config=merge(dialects.config(ports), {
        "server": {"http_tls_config": mutual, "grpc_tls_config": mutual},
        "query_frontend": {"zipkin": dialects.at(zipkin), "jaeger": {"remote_storage": {**dialects.at(plain), "tls": {"insecure": True}}}},
    }))
    identity = (str(certificates.certificate), str(certificates.key))
    server.session.cert = identity
    try:
        server.start()
        for port, path in ((ports.query_http, "/api/services"), (zipkin, "/api/v2/services"), (ports.admin, "/metrics"), (ports.sampling_http, "/sampling?service=x")):
            def ask(scheme, cert):
                headers = {"X-Scope-OrgID": "a", **bearer("operator")}
                url = f"{scheme}://127.0.0.1:{port}{path}"  # noqa: B023
                return requests.get(url, headers=headers, cert=cert, verify=str(certificates.authority), timeout=30)

            assert ask("https", identity).status_code == 200, path
            with pytest.raises(requests.ConnectionError):
                ask("https", None)
            in_clear = ask("http", None)
            assert in_clear.status_code == 400 and in_clear.text.startswith("this port speaks TLS: "), path
        root = certificates.authority.read_bytes()
        known = grpc.ssl_channel_credentials(root, certificates.key.read_bytes(), certificates.certificate.read_bytes())
        for port in (ports.query_grpc, ports.storage_grpc, ports.sampling_grpc):
            def check(channel):
                with channel:
                    channel.unary_unary(HEALTH, lambda body: body, lambda body: body)(b"", timeout=10)

            target = f"127.0.0.1:{port}"
            check(grpc.secure_channel(target, known))
            for channel in (grpc.secure_channel(target, grpc.ssl_channel_credentials(root)), grpc.insecure_channel(target)):
                with pytest.raises(grpc.RpcError) as refused:
                    check(channel)
                assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        check(grpc.insecure_channel(f"127.0.0.1:{plain}"))
    finally:
        server.close()


# --- TLS -------------------------------------------------------------------------------------------------------------


def export_by_sdk(exporter):
    provider = TracerProvider(resource=Resource.create({"service.name": "sdk"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("work") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()
    return trace_id


def test_sdk_sends_by_tls_with_a_token_and_spans_are_found(encrypted):
    authority = encrypted.certificates.authority
    quiet = requests.Session()
    quiet.trust_env = False
    by_http = HttpExporter(
        endpoint=encrypted.otlp_url + "/v1/traces", certificate_file=str(authority), headers=bearer("writer"),
        session=quiet)
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    by_grpc = GrpcExporter(
        endpoint=f"https://127.0.0.1:{encrypted.otlp_grpc_port}", credentials=credentials,
        headers=[("authorization", "Bearer writer-token")])
    for exporter in (by_http, by_grpc):
        trace_id = export_by_sdk(exporter)
        answer = encrypted.get(f"/api/v2/traces/{trace_id}", headers={"X-Scope-OrgID": "a"})
        assert answer.status_code == 200 and "work" in answer.text, answer.text


def test_ports_in_tls_refuse_clear_text_and_strangers(encrypted, tmp_path):
    for port in (encrypted.http_port, encrypted.otlp_http_port):
        # Told so, and nothing else, whatever is asked for.
        refused = requests.get(f"http://127.0.0.1:{port}/ready", headers=bearer("operator"), timeout=10)
        assert (refused.status_code, refused.text[:25]) == (400, "this port speaks TLS: con")
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"https://127.0.0.1:{port}/ready", timeout=10, verify=str(Certificates(other).authority))


def served_certificate(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
            return stream.getpeercert(binary_form=True)


def test_renewed_certificates_are_served_without_a_restart(encrypted, tmp_path):
    ports = [encrypted.http_port, encrypted.grpc_port, encrypted.otlp_http_port, encrypted.otlp_grpc_port]
    before = [served_certificate(port) for port in ports]
    held = requests.Session()
    held.trust_env = False
    held.verify = str(encrypted.certificates.authority)
    assert held.get(encrypted.url + "/ready", timeout=10).status_code == 200
    # A new authority, certificate and key in the same files.
    Certificates(tmp_path)
    for port, old in zip(ports, before):
        eventually(lambda: served_certificate(port) != old, f"port {port} serves the new certificate")  # noqa: B023
    # The connection from before is still good, though its certificate would not be any more.
    assert held.get(encrypted.url + "/ready", timeout=10).status_code == 200
    encrypted.certificates.key.write_text("broken")
    new = served_certificate(ports[0])
    assert served_certificate(ports[0]) == new
    eventually(
        lambda: encrypted.metrics()['tactus_file_reload_successful{section="server.http_tls_config"}'] == 0,
        "the broken key is reported")


def test_receiver_with_an_authority_wants_client_certificates(tmp_path):
    certificates = Certificates(tmp_path)
    tls = {"client_ca_file": str(certificates.authority)}
    config = {"distributor": {"receivers": {"otlp": {"protocols": {"grpc": {"tls": tls}, "http": {"tls": tls}}}}}}
    server = SecureTactus(tmp_path / "mutual", config=config, certificates=certificates).start()
    try:
        root = certificates.authority.read_bytes()
        request = otlp.export(otlp.span())
        metadata = [("authorization", "Bearer writer-token")]

        def send(credentials):
            with grpc.secure_channel(f"127.0.0.1:{server.otlp_grpc_port}", credentials) as channel:
                trace_service_pb2_grpc.TraceServiceStub(channel).Export(request, metadata=metadata, timeout=10)

        send(grpc.ssl_channel_credentials(root, certificates.key.read_bytes(), certificates.certificate.read_bytes()))
        with pytest.raises(grpc.RpcError):
            send(grpc.ssl_channel_credentials(root))
        identity = (str(certificates.certificate), str(certificates.key))
        body, headers = request.SerializeToString(), {**PROTOBUF, **bearer("writer")}
        url = server.otlp_url + "/v1/traces"
        answer = requests.post(url, data=body, headers=headers, cert=identity, verify=str(certificates.authority), timeout=10)
        assert answer.status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.post(url, data=body, headers=headers, verify=str(certificates.authority), timeout=10)
        eventually(lambda: server.metric("tactus_server_tls_handshake_failures_total") >= 2, "refusals are counted")
        refused = [line for line in server.logs().splitlines() if "a TLS handshake failed" in line]
        assert {port for port in (server.otlp_grpc_port, server.otlp_http_port) if any(f"port={port} " in line for line in refused)} == {
            server.otlp_grpc_port, server.otlp_http_port}
        assert all("level=warn" in line and "reason=no_certificate" in line for line in refused), refused
    finally:
        server.close()


# --- clients that mean harm ------------------------------------------------------------------------------------------


def test_two_thousand_idle_connections_cost_little_and_disturb_nobody(tactus):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    before = tactus.resident_bytes()
    held = []
    try:
        ports = [tactus.http_port, tactus.grpc_port, tactus.otlp_http_port, tactus.otlp_grpc_port]
        for number in range(2000):
            held.append(socket.create_connection(("127.0.0.1", ports[number % 4]), timeout=10))
        trace_id = otlp.push_trace(tactus)
        assert len(tactus.trace(trace_id)) == 3
        grown = tactus.resident_bytes() - before
        print(f"2000 connections: {grown / 2000 / 1024:.1f} KiB each")
        assert grown < 100 << 20, f"{grown >> 20} MiB"
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_client_is_cut_while_others_are_served(servers):
    config = {"server": {"http_server_read_timeout": "1s", "http_server_read_header_timeout": "500ms"}}
    server = servers.start(config=config)
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as slow_head:
        slow_head.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\n")
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as slow_body:
            slow_body.sendall(b"POST /log_level HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nlog")
            assert server.get("/ready").status_code == 200
            answer = slow_body.recv(4096)
            assert answer.startswith(b"HTTP/1.1 4") or answer == b"", answer
        assert slow_head.recv(4096) == b""
    assert server.get("/ready").status_code == 200


def test_huge_head_is_refused(tactus):
    for head in (b"a: " + b"x" * (1 << 20), b"a: b\r\n" * 5000):
        with socket.create_connection(("127.0.0.1", tactus.http_port), timeout=20) as stream:
            try:
                stream.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n")
                answer = stream.recv(4096)
            except ConnectionError:
                answer = b""
            assert answer == b"" or answer.startswith(b"HTTP/1.1 431"), answer
    assert tactus.get("/ready").status_code == 200


# --- a cluster -------------------------------------------------------------------------------------------------------


def test_cluster_talks_by_tls_and_shows_its_token(tmp_path, bucket):
    """On a port of its own, too."""
    certificates = Certificates(tmp_path)
    [internal_port] = free_ports(1)
    token, users = tmp_path / "internal-token", tmp_path / "users.yaml"
    token.write_text(INTERNAL_TOKEN)
    users.write_text(yaml.safe_dump({"users": USERS}))
    files = {"cert_file": str(certificates.certificate), "key_file": str(certificates.key)}
    # The nodes have addresses that the certificate does not name.
    trust = {"tls_enabled": True, "tls_ca_path": str(certificates.authority), "tls_server_name": "127.0.0.1"}
    identity = {"tls_cert_path": str(certificates.certificate), "tls_key_path": str(certificates.key)}
    config = {
        "multitenancy_enabled": True,
        "auth": {"enabled": True, "users_file": str(users), "internal_token_file": str(token)},
        "server": {"grpc_tls_config": files, "internal_grpc_listen_port": internal_port},
        "memberlist": {**trust, **identity},
        "ingester_client": {"grpc_client_config": trust},
        "querier": {"frontend_worker": {"grpc_client_config": trust}},
        "ingester": {"lifecycler": {"ring": {"replication_factor": 1}}},
    }
    counts = {"ingester": 1, "distributor": 1, "query-frontend": 1, "querier": 1}
    cluster = Cluster(tmp_path / "cluster", bucket, counts, config)
    try:
        for node in cluster.nodes.values():
            node.session.headers.update(bearer("operator"))
        cluster.start()
        trace_id = "00000000000000000000000000000c1a"
        body = otlp.export(otlp.span(bytes.fromhex(trace_id))).SerializeToString()
        distributor, frontend = cluster["distributor-0"], cluster["query-frontend-0"]

        def pushed():
            headers = {**PROTOBUF, **bearer("writer")}
            return requests.post(distributor.otlp_url + "/v1/traces", data=body, headers=headers, timeout=30).status_code == 200

        def found():
            answer = requests.get(f"{frontend.url}/api/v2/traces/{trace_id}", headers=bearer("reader"), timeout=30)
            return answer.status_code == 200 and "work" in answer.text

        eventually(pushed, "the distributor takes spans")
        eventually(found, "the frontend finds them")
        ingester = cluster["ingester-0"]
        credentials = grpc.ssl_channel_credentials(certificates.authority.read_bytes())
        options = [("grpc.ssl_target_name_override", "127.0.0.1")]

        def code(port, *metadata):
            with grpc.secure_channel(f"{ingester.address}:{port}", credentials, options) as channel:
                identity = lambda body: body  # noqa: E731
                call = channel.unary_unary("/tactus.v1.Ingester/Tags", identity, identity)
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"", metadata=metadata, timeout=30)
                return refused.value.code().name

        service = ("x-tactus-internal-token", INTERNAL_TOKEN)
        assert code(internal_port) == code(ingester.grpc_port) == "UNAUTHENTICATED"
        assert code(ingester.grpc_port, service) == "UNIMPLEMENTED" != code(internal_port, service)
        for node in cluster.nodes.values():
            assert INTERNAL_TOKEN not in node.logs()
            assert "services_apart=true" in node.logs()
    finally:
        cluster.close()


def test_stranger_does_not_get_into_the_ring(tmp_path, bucket):
    """Whoever reaches the gossip port, and does not know the token, receives no spans and sees no member."""
    token, users = tmp_path / "internal-token", tmp_path / "users.yaml"
    token.write_text(INTERNAL_TOKEN)
    users.write_text(yaml.safe_dump({"users": USERS}))
    config = {
        "multitenancy_enabled": True,
        "auth": {"enabled": True, "users_file": str(users), "internal_token_file": str(token)},
        "ingester": {"lifecycler": {"ring": {"replication_factor": 1}}},
    }
    cluster = Cluster(tmp_path / "cluster", bucket, {"ingester": 1, "distributor": 1}, config)
    with cluster:
        for node in cluster.nodes.values():
            node.session.headers.update(bearer("operator"))
        cluster.start()
        own = {"ingester-0": "ACTIVE"}
        ingester, distributor = cluster["ingester-0"], cluster["distributor-0"]
        another = tmp_path / "another-token"
        another.write_text("guessed-by-somebody-0123456789")
        strangers = {
            "plain": {"auth": {"enabled": False, "internal_token_file": ""}},
            "guessing": {"auth": {"internal_token_file": str(another)}},
            # Let everybody in themselves.
            "open": {"auth": {"internal_token_file": str(another), "allow_open_gossip": True}},
            "bare": {"auth": {"internal_token_file": "", "allow_open_gossip": True}},
        }
        for name, theirs in strangers.items():
            stranger = cluster.new("ingester", name, theirs)
            stranger.session.headers.update(bearer("operator"))
            stranger.start()
        # Greetings made up, without a proof and with a wrong one.
        plain, proving = (b"TACTUSg" + version + b"\x00\x00\x0e127.0.0.9:7946" for version in (b"\x01", b"\x02"))
        for greeting, answer in (plain, b"TACTUSg\x01\x03"), (proving + bytes(64), b"TACTUSg\x01\x00"):
            with socket.create_connection((ingester.address, ingester.gossip_port), timeout=10) as connection:
                connection.sendall(greeting)
                heard = b"".join(iter(lambda: connection.recv(1000), b""))
                assert heard.startswith(answer) and len(heard) <= 73, "the connection is closed before any message"
        invalid = "tempo_memberlist_client_received_broadcasts_invalid_total"
        eventually(lambda: ingester.metric(invalid) >= 6, "refusals are counted")
        assert "gossip connection refused" in ingester.logs()
        assert distributor.ring() == ingester.ring() == own
        for name in strangers:
            assert not own.keys() & cluster[name].ring().keys(), name
        assert "gossip trusts members that prove to know auth.internal_token_file" in ingester.logs()
        assert INTERNAL_TOKEN not in ingester.logs()


def test_authentication_with_open_gossip_does_not_start_unless_it_is_meant(tmp_path):
    server = SecureTactus(tmp_path / "open")
    server.config = merge(server.config, {
        "auth": {"internal_token_file": ""},
        "ingester": {"lifecycler": {"address": "127.0.0.1", "ring": {"kvstore": {"store": "memberlist"}}}}})
    server.spawn()
    assert server.process.wait(30) != 0
    assert "auth.internal_token_file" in server.logs() and "auth.allow_open_gossip" in server.logs()
