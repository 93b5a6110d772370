"""Who may depend on whom: docs/ARCHITECTURE.md, checked on what cargo says."""
import json
import os
import re
import subprocess

import pytest

from harness.paths import REPOSITORY

# Lower layers first; a lib may depend on earlier ones only.
LIBS = [
    "proto", "model", "clock", "allocator", "work", "config", "telemetry", "operator-files", "tls", "dns", "ring", "rpc", "cache", "storage", "sampling", "traceql", "tail-sampling", "block",
    "compaction", "wal", "server", "block-lifecycle", "overrides", "drop-rules", "remote-write", "generator", "otlp-json", "jaeger", "zipkin", "receivers", "api",
    "recent-data", "process", "distribution", "query-jobs", "ui", "query", "jaeger-zipkin-query",
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


def test_map_lists_libs_in_the_same_order():
    text = (REPOSITORY / "docs/ARCHITECTURE.md").read_text()
    assert re.findall(r"^\| `libs/([\w-]+)` \|", text, re.M) == LIBS


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


MODULE_PATH = re.compile(r"\b(?:crate|super|self)(?:::\w+)+")


def modules_of(source):
    """Of a crate's sources, the text of each module by its path; without tests and comments."""
    texts = {}
    for file in source.rglob("*.rs"):
        path = file.relative_to(source).with_suffix("").parts
        if {"tests", "testing", "main"} & set(path):
            continue
        path = () if path == ("lib",) else path
        text = re.sub(r"//[^\n]*", "", file.read_text().split("#[cfg(test)]\nmod tests {")[0])
        texts[path] = text
    return texts


def written_out(path):
    """The paths that a `use` with braces names."""
    path = re.sub(r"\s+", "", re.sub(r"\s+as\s+\w+", "", path))
    if "{" not in path:
        return [path]
    before, inner = path[:path.index("{")], path[path.index("{") + 1:path.rindex("}")]
    parts, depth, part = [], 0, ""
    for character in inner + ",":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts += written_out(before + part) if part else []
            part = ""
        else:
            part += character
    return parts


def paths_of_uses(text):
    """What `use` names, and what the code names by its path."""
    uses = re.findall(r"\buse\s+([^;]+);", text)
    return [path for use in uses for path in written_out(use)] + MODULE_PATH.findall(re.sub(r"\buse\s+[^;]+;", "", text))


def offered_by(text):
    """The path of each name that a module offers of others."""
    offers = re.findall(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);", text)
    return {path.rpartition("::")[2]: path for offer in offers for path in written_out(offer)}


def module_named(path, where, modules):
    """The module in which lies what a path within a crate leads to, as seen from another one; None outside of the crate."""
    parts = path.split("::")
    if parts[0] == "crate":
        at, parts = (), parts[1:]
    elif parts[0] in ("self", "super"):
        at = where
        while parts and parts[0] in ("self", "super"):
            at = at[:-1] if parts[0] == "super" else at
            parts = parts[1:]
    elif (*where, parts[0]) in modules:
        at = where
    else:
        return None
    while parts and (*at, parts[0]) in modules:
        at, parts = (*at, parts[0]), parts[1:]
    offered = modules.get(at, {}).get(parts[0]) if parts else None
    return module_named(offered, at, modules) or at if offered and offered != path else at


def reached_from(module, needs):
    """All modules that one needs, and that these need."""
    reached, waiting = set(), [module]
    while waiting:
        new = needs.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def test_files_of_different_concepts_do_not_need_each_other():
    """Types lie below what uses them: a circle of imports stays within a file and the folder of its name."""
    circles = set()
    for source in sorted(path for folder in ("libs", "services") for path in (REPOSITORY / folder).glob("*/src")):
        texts = modules_of(source)
        modules = {module: offered_by(text) for module, text in texts.items()}
        needs = {}
        for module, text in texts.items():
            found = {module_named(path, module, modules) for path in paths_of_uses(text)}
            # What lib.rs offers lies somewhere else.
            needs[module] = found - {None, (), module} if module else set()
        reached = {module: reached_from(module, needs) for module in needs}
        for module in needs:
            circle = sorted(other for other in reached[module] if module in reached.get(other, ()))
            if len({other[0] for other in circle}) > 1:
                circles.add(f"{source.relative_to(REPOSITORY)}: " + ", ".join("/".join(other) for other in circle))
    assert not circles, "\n".join(sorted(circles))
