"""Fixtures: servers that end with their test."""
import contextlib
import pathlib

import pytest

pytest.register_assert_rewrite("harness.store_tests")

from harness.azure import Azure
from harness.browser import Visit, chromium
from harness.disk import SmallDisk
from harness.gcs import Gcs
from harness.prometheus import Prometheus, Receiver, SecondPrometheus
from harness.s3 import S3
from harness.servers import Servers
from harness.tools import summary


# Files that take longest, the longest first. Begun last, one of them would run alone while the other processes have nothing to do.
LONGEST = (
    "cluster_faults", "hostile_tenants", "hostile_blocks", "hostile_credentials", "hostile_store", "generator_conformance", "ui",
    "disk", "cluster", "helm", "migrate", "compaction", "hostile_metas", "memory", "bombs", "hostile_queries", "security",
    "generator", "streaming", "azure", "large_traces", "hostile_connections", "conformance", "s3", "durability", "self_monitoring",
    "same_answers", "live_tail", "tail_sampling", "hostile_readers", "hostile_gossip", "generator_delivery", "oracle", "tactusctl",
    "hostile_input", "bad_disk", "buckets", "gcs", "caches", "clients",
)


def pytest_collection_modifyitems(items):
    """Several processes take one file after the other, in this order: see scripts/test-integration.sh."""
    place = {f"test_{name}.py": at for at, name in enumerate(LONGEST)}
    gone = [name for name in place if not (pathlib.Path(__file__).parent / name).exists()]
    assert not gone, f"LONGEST names {gone}"
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_terminal_summary(terminalreporter):
    """Says at the end which programs were missing, and how many tests each one cost."""
    lines = summary(terminalreporter.stats.get("skipped", []))
    if lines:
        terminalreporter.section("programs that are not installed")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def servers(tmp_path):
    """Makes servers for one test."""
    group = Servers(tmp_path)
    yield group
    group.close()


@pytest.fixture(scope="module")
def tactus(tmp_path_factory):
    """A server shared by the tests of one file, which must not depend on each other's spans."""
    group = Servers(tmp_path_factory.mktemp("shared"))
    yield group.start()
    group.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium, for the tests of one file."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser, server):
    """A visit of the pages of the file's `server`."""
    made = Visit(browser, server.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """An S3 server for the whole run."""
    server = S3(tmp_path_factory.mktemp("s3")).start()
    yield server
    server.close()


@pytest.fixture
def bucket(s3_server):
    """A fresh bucket."""
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory):
    """A Google store for the whole run."""
    server = Gcs(tmp_path_factory.mktemp("gcs")).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory):
    """An Azure store for the whole run."""
    server = Azure(tmp_path_factory.mktemp("azure")).start()
    yield server
    server.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    with SmallDisk(tmp_path / "small-disk") as disk:
        if disk.refused:
            pytest.skip(disk.refused)
        yield disk.path


@contextlib.contextmanager
def ends_after(servers, prometheus):
    try:
        yield prometheus.start()
    finally:
        try:
            servers.close()
        finally:
            prometheus.close()


@pytest.fixture
def prometheus(tmp_path, servers):
    """A Prometheus that takes remote write. Servers end before it does: at their end they send what waits."""
    with ends_after(servers, Prometheus(tmp_path / "prometheus")) as started:
        yield started


@pytest.fixture
def second_prometheus(tmp_path, servers):
    """One that takes remote write 2.0."""
    with ends_after(servers, SecondPrometheus(tmp_path / "second-prometheus")) as started:
        yield started


@pytest.fixture
def receiver(servers):
    """Takes remote write and keeps it, until the last server has ended."""
    started = Receiver()
    yield started
    try:
        servers.close()
    finally:
        started.close()
