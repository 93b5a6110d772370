"""Who may depend on whom: docs/ARCHITECTURE.md, checked on what cargo says."""
import json
import os
import subprocess

import pytest

from harness.paths import REPOSITORY

# Lower layers first; a lib may depend on earlier ones only.
LIBS = [
    "proto", "model", "clock", "work", "config", "telemetry", "tls", "rpc", "ring", "cache", "storage", "sampling", "traceql", "tail-sampling", "block",
    "compaction", "wal", "server", "overrides", "otlp-json", "jaeger", "zipkin", "receivers", "api", "process", "ui", "query",
    "jaeger-zipkin-query",
]
# The binaries that put services together.
COMPOSERS = {"tactus", "tactusctl"}
FORBIDDEN = ["aws-lc-sys", "openssl-sys", "cmake", "serde_yaml", "serde_yml", "datafusion"]


def metadata(*arguments):
    cargo = os.environ.get("CARGO", "cargo")
    done = subprocess.run(
        [cargo, "metadata", "--format-version=1", "--locked", *arguments], cwd=REPOSITORY, capture_output=True,
        text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def packages():
    """(folder, name) -> folders and names of the workspace packages it needs; dev-dependencies left out, and what only tests."""
    root = str(REPOSITORY)
    members = {}
    for package in metadata("--no-deps")["packages"]:
        if package["name"] == "tactus-fuzz":
            continue
        folder, name = os.path.relpath(os.path.dirname(package["manifest_path"]), root).split(os.sep)[:2]
        members[package["name"]] = ((folder, name), package["dependencies"])
    return {
        place: {members[d["name"]][0] for d in needs if d["name"] in members and d["kind"] != "dev"}
        for place, needs in members.values()
    }


def test_every_lib_has_its_layer(packages):
    unknown = [name for folder, name in packages if folder == "libs" and name not in LIBS]
    assert not unknown, f"give these a line in LIBS and in docs/ARCHITECTURE.md: {unknown}"


def test_lib_depends_on_earlier_libs_only(packages):
    wrong = [
        f"{name} -> {needed}"
        for (folder, name), needs in packages.items() if folder == "libs"
        for needed_folder, needed in needs
        if needed_folder != "libs" or LIBS.index(needed) >= LIBS.index(name)
    ]
    assert not wrong, wrong


def test_services_never_depend_on_each_other(packages):
    wrong = [
        f"{name} -> {needed}"
        for (folder, name), needs in packages.items() if folder == "services" and name not in COMPOSERS
        for needed_folder, needed in needs if needed_folder == "services"
    ]
    assert not wrong, wrong


def test_packages_are_named_after_their_folders(packages):
    names = {p["name"] for p in metadata("--no-deps")["packages"]} - {"tactus-fuzz"}
    assert names == {place[1] if place[1] in COMPOSERS else f"tactus-{place[1]}" for place in packages}


def test_forbidden_crates_are_not_used():
    used = {package["name"] for package in metadata()["packages"]}
    assert not used & set(FORBIDDEN)


def linked(package):
    """What is shipped of a package and its dependencies."""
    cargo = os.environ.get("CARGO", "cargo")
    done = subprocess.run(
        [cargo, "tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("program", ["tactus", "tactusctl"])
def test_files_of_users_are_read_by_one_parser(program):
    shipped = linked(program)
    assert "saphyr-parser" in shipped and not shipped & {"serde_yaml_ng", "tactus-fuzz", "libfuzzer-sys"}


@pytest.mark.parametrize("service, foreign", [
    ("distributor", {"parquet", "tactus-block", "tactus-wal"}),
    ("query-frontend", {"parquet", "tactus-wal", "tactus-receivers"}),
    ("ingester", {"tactus-receivers"}),
    ("metrics-generator", {"parquet", "tactus-block", "tactus-receivers"}),
    ("querier", {"tactus-wal", "tactus-receivers"}),
    ("compactor", {"tactus-wal", "tactus-receivers"}),
])
def test_service_links_only_what_it_needs(service, foreign):
    assert not linked(f"tactus-{service}") & foreign
