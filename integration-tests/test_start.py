"""The start: without a configuration loopback only, data below the working directory, a banner; ports that others hold."""
import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest
import requests
import yaml

from harness import otlp
from harness.paths import tactus_binary
from harness.ports import free_ports
from harness.program import Program
from harness.waiting import eventually

OTLP_PORTS = (4317, 4318)  # no flags for these: they are fixed without a file


def listens_on(port):
    """Addresses (hex, as the kernel has them) on which something listens at this port."""
    out = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).read().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, number = address.rsplit(":", 1)
            if state == "0A" and int(number, 16) == port:
                out.add(host)
    return out


def require_free(ports):
    for port in ports:
        if listens_on(port):
            pytest.fail(f"port {port} is in use by something else; without an endpoint it cannot be another one")


def start(tmp_path, *arguments):
    program = Program(tmp_path / "log")
    program.run([tactus_binary(), *arguments], cwd=tmp_path)
    return program


def test_start_without_a_file_binds_loopback_keeps_data_here_and_says_so(tmp_path):
    require_free(OTLP_PORTS)
    http_port, grpc_port = free_ports(2)
    program = start(
        tmp_path, f"-server.http-listen-port={http_port}", f"-server.grpc-listen-port={grpc_port}")
    url = f"http://127.0.0.1:{http_port}"
    try:
        program.until(lambda: requests.get(url + "/ready", timeout=5).status_code == 200, "ready")
        for port in (http_port, grpc_port, *OTLP_PORTS):
            assert listens_on(port) == {"0100007F"}, f"port {port} must be bound to 127.0.0.1 only"
        assert {p.name for p in (tmp_path / "tactus-data").iterdir()} >= {"wal"}
        banner = program.logs()
        for part in (f"127.0.0.1:{http_port}", "127.0.0.1:4317", "127.0.0.1:4318", "curl ", "tactus-data"):
            assert part in banner, banner
        # The first command that the banner offers works as it stands.
        (command,) = re.findall(r"curl [^\n]*", banner)[:1]
        done = subprocess.run(["bash", "-c", command.replace("curl ", "curl -sS --fail-with-body ", 1)],
                              capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    finally:
        if program.is_running():
            program.process.send_signal(signal.SIGTERM)
        code = program.process.wait(60)
    assert code == 0, program.logs()


def test_a_terminal_that_is_gone_does_not_end_the_process(tmp_path):
    require_free(OTLP_PORTS)
    http_port, grpc_port = free_ports(2)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [tactus_binary(), f"-server.http-listen-port={http_port}", f"-server.grpc-listen-port={grpc_port}"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)  # as `tactus | head` does once it has its lines
    try:
        def is_ready():
            assert process.poll() is None, process.returncode
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"http://127.0.0.1:{http_port}/ready", timeout=5).status_code == 200
            return False

        eventually(is_ready, "ready without a terminal")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0


def test_sigquit_does_not_end_the_process(servers):
    server = servers.start()
    server.process.send_signal(signal.SIGQUIT)
    eventually(lambda: "SIGQUIT" in server.logs(), "a line in the log")
    assert server.get("/ready").status_code == 200


def test_sighup_does_not_end_the_process(servers):
    server = servers.start()
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP does nothing here" in server.logs(), "a line in the log")
    assert server.get("/ready").status_code == 200
    assert server.stop() == 0


def test_sigterm_ends_a_process_that_still_starts(servers):
    """Its bucket takes connections and answers nothing, for which a start waits half a minute. The delay is for processes that were ready."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        store.settimeout(60)
        s3 = {"bucket": "b", "endpoint": "127.0.0.1:%d" % store.getsockname()[1], "insecure": True, "access_key": "a", "secret_key": "s"}
        server = servers.new(config={"shutdown_delay": "10m", "storage": {"trace": {"backend": "s3", "s3": s3}}})
        server.spawn()
        with store.accept()[0]:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0, server.logs()
    assert "tactus is ready" not in server.logs()


def test_sigterm_ends_a_process_that_waits_for_a_file(servers, tmp_path):
    """As it does where the file is on a mount that hangs."""
    path = tmp_path / "strategies.json"
    os.mkfifo(path)

    def open_for_writing():
        with contextlib.suppress(OSError):  # nobody reads yet
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    server = servers.new(config={"sampling": {"file": {"path": str(path)}}})
    server.spawn()
    writer = eventually(open_for_writing, "the file is read")
    try:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0, server.logs()
    finally:
        os.close(writer)
    assert "stopping before all parts are there" in server.logs()
    assert "tactus is ready" not in server.logs()


def test_ports_are_free_again_after_stop(servers):
    server = servers.start()
    ports = (server.http_port, server.grpc_port, server.otlp_http_port, server.otlp_grpc_port)
    assert server.stop() == 0
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_receivers_without_an_endpoint_bind_every_interface(servers):
    # Container recipes rely on it.
    require_free(OTLP_PORTS)
    server = servers.new()
    server.config["distributor"]["receivers"]["otlp"]["protocols"] = {"http": None, "grpc": None}
    server.start()
    for port in OTLP_PORTS:
        assert listens_on(port) & {"00000000", "0" * 32}, port


def test_two_processes_on_one_directory_the_second_refuses(servers, tmp_path):
    first = servers.start("first")
    second = servers.new("second", config={"storage": {"trace": {"wal": {"path": str(first.wal)}}}})
    second.spawn()
    assert second.process.wait(60) == 1
    log = second.logs()
    assert str(first.wal) in log and str(first.pid) in log, log
    assert first.get("/ready").status_code == 200


def test_process_that_has_to_find_others_fails_if_it_does_not(servers):
    port, gossip = free_ports(2)
    server = servers.new(config={
        "memberlist": {
            "bind_addr": ["127.0.0.1"], "bind_port": gossip, "join_members": [f"127.0.0.1:{port}"], "min_join_backoff": "100ms",
            "abort_if_cluster_join_fails": True, "max_join_retries": 2, "leave_timeout": "1s"},
        "ingester": {"lifecycler": {"address": "127.0.0.1", "ring": {"kvstore": {"store": "memberlist"}}, "min_ready_duration": "0s"}}})
    server.spawn()
    assert server.process.wait(60) == 1
    assert "memberlist.abort_if_cluster_join_fails" in server.logs()


def test_file_that_wants_copies_but_names_no_member_is_that_of_a_process_alone(servers):
    server = servers.start(config={
        "ingester": {"lifecycler": {"ring": {"replication_factor": 3, "kvstore": {"store": "memberlist"}}}}})
    trace_id = otlp.push_trace(server)
    assert len(server.trace(trace_id)) == 3
    assert "memberlist.join_members names nobody who could have them" in server.logs()


def test_ports_that_others_hold_are_all_named_at_once(tmp_path):
    names = {
        "http": "server.http_listen_port", "grpc": "server.grpc_listen_port",
        "otlp": "distributor.receivers.otlp.protocols.http.endpoint",
        "udp": "distributor.receivers.jaeger.protocols.thrift_compact.endpoint",
        "zipkin": "distributor.receivers.zipkin.endpoint",
        "query": "query_frontend.jaeger.http.endpoint", "sampling": "sampling.http.endpoint",
        "gossip": "memberlist.bind_port",
    }
    with contextlib.ExitStack() as held:
        ports = {}
        for name in names:
            kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
            other = held.enter_context(socket.socket(type=kind))
            other.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                other.listen()
            ports[name] = other.getsockname()[1]
        at = {name: {"endpoint": f"127.0.0.1:{port}"} for name, port in ports.items()}
        file = tmp_path / "tactus.yaml"
        file.write_text(yaml.safe_dump({
            "server": {
                "http_listen_address": "127.0.0.1", "http_listen_port": ports["http"],
                "grpc_listen_address": "127.0.0.1", "grpc_listen_port": ports["grpc"]},
            "distributor": {"receivers": {
                "otlp": {"protocols": {"http": at["otlp"]}}, "jaeger": {"protocols": {"thrift_compact": at["udp"]}},
                "zipkin": at["zipkin"]}},
            "query_frontend": {"jaeger": {"http": at["query"]}},
            "sampling": {"http": at["sampling"]},
            "ingester": {"lifecycler": {"ring": {"kvstore": {"store": "memberlist"}}}},
            "memberlist": {"advertise_addr": "127.0.0.1", "bind_addr": ["127.0.0.1"], "bind_port": ports["gossip"]},
            "storage": {"trace": {"backend": "local", "local": {"path": "./blocks"}, "wal": {"path": "./wal"}}},
        }))
        done = subprocess.run(
            [tactus_binary(), f"-config.file={file}"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    for name, key in names.items():
        assert f"{key}: listen on 127.0.0.1:{ports[name]}: " in said, (key, said)
    assert not (tmp_path / "wal").exists(), "nothing was opened"
