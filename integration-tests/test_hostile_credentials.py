"""Servers that give credentials for the bucket and break their promises: memory is bounded, errors are named, and all is well later."""
import contextlib
import json
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from harness import otlp
from harness.hostile_s3 import XMLNS, HostileS3
from harness.server import merge
from harness.store_tests import FAST, stored
from harness.waiting import eventually

MIB = 1 << 20
PEAK = 300 * MIB
ENOUGH = 700


class Giver(HostileS3):
    """Credentials of every cloud, valid for so short a time that each request asks for them again."""

    def config(self, port=None, **_):
        raise NotImplementedError

    @staticmethod
    def give(request, answer):
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30))
        keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "t", "Expiration": soon}
        path = urllib.parse.urlsplit(answer.path).path
        if path.endswith("/latest/api/token"):
            answer.send(200, b"session")
        elif path.endswith("/security-credentials/"):
            answer.send(200, b"role")
        elif "AssumeRoleWithWebIdentity" in answer.path:
            inner = "".join(f"<{name}>{value}</{name}>" for name, value in {**keys, "SessionToken": "t"}.items() if name != "Token")
            answer.send(200, f"<AssumeRoleWithWebIdentityResponse {XMLNS}><AssumeRoleWithWebIdentityResult><Credentials>{inner}"
                             "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>".encode())
        elif "computeMetadata" in path:
            answer.send(200, json.dumps({"access_token": "t", "expires_in": 30, "token_type": "Bearer"}).encode())
        elif "api-version" in answer.path:
            answer.send(200, json.dumps({"access_token": "t", "expires_on": str(int(time.time()) + 30), "expires_in": "30",
                                         "resource": "x", "token_type": "Bearer"}).encode())
        else:
            answer.send(200, json.dumps(keys).encode())
        return True


@pytest.fixture
def store():
    with HostileS3() as running:
        yield running


@pytest.fixture
def giver():
    with Giver() as running:
        running.fault = Giver.give
        yield running


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("token")
    return str(file)


def s3_sources(giver, token_file):
    url = f"http://127.0.0.1:{giver.port}"
    return {
        "instance": {"AWS_METADATA_ENDPOINT": url},
        "pod": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token_file},
    }


def answering(body):
    return lambda request, answer: answer.send(200, body) or True


def hang(request, answer):
    time.sleep(40)
    answer.close_connection = True
    return True


def redirected(request, answer):
    answer.send(302, Location="/again")
    return True


def credentials(**changes):
    keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "t", "Expiration": "2099-01-01T00:00:00Z", **changes}
    return answering(json.dumps(keys).encode())


def endless(status):
    return lambda request, answer: answer.endless({"status": status}, b" " * (2 * MIB), ENOUGH) or True


FAULTS = {
    "no end": endless(200), "error without end": endless(400), "hangs": hang, "redirects": redirected,
    "length": lambda request, answer: answer.send(200, b"x" * 100_000, Content_Length=str(5 << 60)) or True,
    "page": answering(b"<html>Please log in\n<br>first</html>"),
    "line in token": credentials(Token="a\nb"), "line in key": credentials(AccessKeyId="a\r\nx: y"),
    "huge token": credentials(Token="t" * MIB),
    "missing": lambda request, answer: answer.send(404, b"no such role") or True,
}


@pytest.mark.parametrize("source,fault", [
    *(("instance", fault) for fault in ("no end", "hangs", "redirects", "page", "missing")),
    *(("pod", fault) for fault in ("error without end", "length", "line in token", "line in key", "huge token", "missing")),
])
def test_credentials_that_are_none_cost_nothing_but_time(servers, store, giver, token_file, tmp_path, source, fault):
    config = merge(FAST, store.config(access_key="", secret_key=""))
    env = {"HOME": str(tmp_path), **s3_sources(giver, token_file)[source]}
    server, pushed = stored(servers, store, config, traces=5, env=env)
    server.forget_peak()
    giver.fault = FAULTS[fault]
    added = otlp.push_trace(server)
    # All at once, since each waits for seconds.
    with ThreadPoolExecutor(len(pushed)) as pool:
        answers = list(pool.map(lambda trace: requests.get(f"{server.url}/api/traces/{trace}", timeout=60), pushed))
    for answer in answers:
        assert answer.elapsed.total_seconds() < 15
        # What is cached needs none.
        assert answer.status_code == 200 or answer.status_code >= 500 and len(answer.text) < 1100, answer.text[:2000]
    eventually(lambda: server.metric("tempodb_blocklist_poll_errors_total"), "a poll fails", 60)
    peak, log = server.peak_resident_bytes(), server.logs()
    print(f"peak {peak // MIB} MiB")
    assert server.is_running() and peak < PEAK, f"{peak // MIB} MiB"
    assert "panicked" not in log and "does not exist" not in log, log[-4000:]
    assert f"127.0.0.1:{giver.port}" in log or fault == "redirects", log[-4000:]
    assert max(map(len, log.splitlines())) < 1500
    giver.fault = Giver.give
    eventually(lambda: server.search("{}") == {**pushed, added: 3}, "all is well again", 30)
    server.get("/flush")
    eventually(lambda: len(store.blocks()) > 1, "another block", 30)


def cloud(name, giver, token_file):
    """The configuration of a cloud's store, and an environment in which the giver has the credentials for it."""
    here = f"127.0.0.1:{giver.port}"
    azure = {"backend": "azure", "azure": {"container_name": "traces", "storage_account_name": "acme", "use_managed_identity": True,
                                           "endpoint_suffix": "127.0.0.1:1"}}
    gcs = {"backend": "gcs", "gcs": {"bucket_name": "traces", "endpoint": "http://127.0.0.1:1"}}
    s3 = {"backend": "s3", "s3": {"bucket": "traces", "endpoint": "127.0.0.1:1", "insecure": True}}
    trace, env = {
        "instance": (s3, s3_sources(giver, token_file)["instance"]), "pod": (s3, s3_sources(giver, token_file)["pod"]),
        "Azure": (azure, {"IDENTITY_ENDPOINT": f"http://{here}/token"}),
        "Google": (gcs, {"GCE_METADATA_HOST": here, "GCE_METADATA_IP": here}),
    }[name]
    return {"storage": {"trace": trace}}, env


def token_until(late):
    return answering(json.dumps({"access_token": "t", "expires_in": late, "expires_on": str(late), "token_type": "Bearer"}).encode())


@pytest.mark.parametrize("name,fault", [
    *((name, fault) for name in ("instance", "pod", "Azure", "Google") for fault in ("no end", "hangs")),
    ("Azure", "late"), ("Google", "late"),
])
def test_start_without_credentials_says_so_soon(servers, giver, token_file, tmp_path, name, fault):
    giver.fault = token_until(2 ** 64 - 1) if fault == "late" else FAULTS[fault]
    config, env = cloud(name, giver, token_file)
    server = servers.new("server", config=config, env={"HOME": str(tmp_path), **env})
    begun = time.monotonic()
    server.spawn()
    peaks = [0]

    def has_said_so():
        # It may end at any time.
        with contextlib.suppress(KeyError, OSError):
            peaks.append(server.peak_resident_bytes())
        return "failed to get credentials" in server.logs()

    eventually(has_said_so, "a sentence", 30)
    print(f"after {time.monotonic() - begun:.1f} s, peak {max(peaks) // MIB} MiB")
    assert max(peaks) < PEAK and "panicked" not in server.logs()
