"""Files of a release: the archive, the bill of materials, the chart and the sums, as `make dist` makes them."""
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib

import pytest
import yaml

from harness.paths import CACHE, REPOSITORY
from harness.programs import split
from harness.tools import need

VERSION = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]
NAME = f"tactus-{VERSION}-linux-{os.uname().machine}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    helm = need("helm", CACHE / "bin" / "helm")
    (folder / "tactus_package.deb").write_text("made before")
    done = subprocess.run(
        [REPOSITORY / "scripts/dist.sh", folder, *split(tmp_path_factory.mktemp("programs"))], capture_output=True, text=True, timeout=300,
        env={**os.environ, "LEVEL": "1", "PATH": f"{os.path.dirname(helm)}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    return folder


def test_sums_name_every_file_and_are_right(folder):
    names = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert names == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert names == {"tactus_package.deb", f"{NAME}.tar.gz", f"{NAME}-symbols.tar.gz", f"{NAME}.cdx.json", f"tactus-{VERSION}.tgz"}
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_archive_has_programs_that_start_and_a_unit(folder, tmp_path):
    with tarfile.open(folder / f"{NAME}.tar.gz") as archive:
        assert {(member.uid, member.gid) for member in archive} == {(0, 0)}
        assert all(member.name.split("/")[0] == NAME for member in archive)
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / NAME
    assert {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()} == {
        "bin/tactus", "bin/tactusctl", "LICENSE", "README.md", "CHANGELOG.md", "systemd/tactus.service", "systemd/tactus.default",
        "systemd/tactus.yaml"}
    for program, flag in (("tactus", "-version"), ("tactusctl", "--version")):
        done = subprocess.run([unpacked / "bin" / program, flag], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and VERSION in done.stdout, done.stdout + done.stderr


def test_programs_name_their_functions_and_their_symbols_the_lines(folder, tmp_path):
    for name in (NAME, f"{NAME}-symbols"):
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")

    def output(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    for program in ("tactus", "tactusctl"):
        built, symbols = tmp_path / NAME / "bin" / program, tmp_path / f"{NAME}-symbols" / "bin" / f"{program}.debug"
        assert ".debug_line" not in output("readelf", "--section-headers", "--wide", built)
        assert ".gnu_debuglink" in output("readelf", "--section-headers", "--wide", built)
        (address,) = re.findall(rf"^(\w+) t {program}::main$", output("nm", "--demangle", built), re.MULTILINE)
        assert f"services/{program}/src/main.rs:" in output("addr2line", "--exe", symbols, f"0x{address}")


def test_chart_of_the_release_names_its_version(folder):
    with tarfile.open(folder / f"tactus-{VERSION}.tgz") as archive:
        chart = yaml.safe_load(archive.extractfile("tactus/Chart.yaml"))
    assert chart["version"] == chart["appVersion"] == VERSION


def test_bill_of_materials_names_every_crate_and_package_once(folder):
    bill = json.loads((folder / f"{NAME}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert bill["metadata"]["component"]["version"] == VERSION
    components = {component["bom-ref"]: component for component in bill["components"]}
    assert len(components) == len(bill["components"]) > 200
    for reference, component in components.items():
        assert component["type"] in ("application", "library") and component["purl"] == reference
        assert re.fullmatch(r"pkg:(cargo|npm)/[\w%@/.+-]+", reference), reference
        assert component["licenses"] and all(licence["expression"] for licence in component["licenses"]), reference
        lengths = {"SHA-256": 64, "SHA-512": 128}
        assert all(len(found["content"]) == lengths[found["alg"]] for found in component.get("hashes", [])), reference
    # What is not of this repository has a sum, and is what the lock file says.
    locked = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())["package"]
    sums = {f"pkg:cargo/{crate['name']}@{crate['version']}": crate.get("checksum") for crate in locked}
    for reference, component in components.items():
        if reference.startswith("pkg:cargo/"):
            assert [found["content"] for found in component.get("hashes", [])] == list(filter(None, [sums[reference]])), reference
    names = {component["name"] for component in components.values()}
    assert {"tactus", "tactusctl", "tactus-traceql", "tokio", "parquet", "preact", "@codemirror/view"} <= names
    # Neither tests nor what makes the pages is in a program.
    assert not {"proptest", "turmoil", "vite", "vitest", "typescript"} & names
    # Everything is needed by something, and everything needed is there.
    needs = {edge["ref"]: edge["dependsOn"] for edge in bill["dependencies"]}
    needed = {reference for references in needs.values() for reference in references}
    assert needed == set(components) and set(needs) == set(components) | {bill["metadata"]["component"]["bom-ref"]}


def test_bill_of_materials_is_the_same_when_it_is_made_again(folder, tmp_path):
    again = tmp_path / "again.json"
    target = f"{os.uname().machine}-unknown-linux-gnu"
    subprocess.run([sys.executable, REPOSITORY / "scripts/sbom.py", again, "--target", target], check=True, capture_output=True, timeout=60)
    assert again.read_text() == (folder / f"{NAME}.cdx.json").read_text()


def test_first_page_of_the_crates_leads_to_each_of_them(tmp_path):
    subprocess.run([sys.executable, REPOSITORY / "scripts/crates_page.py", tmp_path / "index.html"], check=True, capture_output=True, timeout=60)
    page = (tmp_path / "index.html").read_text()
    crates = [tomllib.loads(path.read_text())["package"]["name"] for kind in ("libs", "services") for path in (REPOSITORY / kind).glob("*/Cargo.toml")]
    rows = re.findall(r'<a href="([\w]+)/index.html">([\w-]+)</a></td><td>([^<]{10,})</td>', page)
    assert sorted(name for _, name, _ in rows) == sorted(crates)
    assert all(link == name.replace("-", "_") for link, name, _ in rows)
