"""Writes the bill of materials (SBOM) of the programs, CycloneDX 1.5 in JSON: `sbom.py FILE [--target TRIPLE]`.

It names every crate that `tactus` and `tactusctl` are built of on the target, and every package of npm that is in their pages, with
versions, licences, checksums and who needs whom. What only tests and builds need is left out, but for build scripts and what they use,
which are marked `excluded`. Versions are those of Cargo.lock and package-lock.json. The same commit gives the same file."""
import argparse
import base64
import datetime
import json
import pathlib
import re
import subprocess
import tomllib
import uuid

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("tactus", "tactusctl")
PAGES = "libs/ui/web/package-lock.json"
# The crate that has the pages inside.
PAGES_OF = "tactus-ui"
TARGET = "x86_64-unknown-linux-gnu"


def output(*command):
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def licences(expression):
    """As CycloneDX has it. Old crates write `MIT/Apache-2.0`."""
    return [{"expression": re.sub(r"\s*/\s*", " OR ", expression)}] if expression else []


def checksums():
    """SHA-256 of crates by name and version."""
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    return {(crate["name"], crate["version"]): crate["checksum"] for crate in lock["package"] if "checksum" in crate}


def reached(roots, edges):
    """All that can be reached from roots by edges: a mapping to lists."""
    found, open_ = set(), list(roots)
    while open_:
        here = open_.pop()
        if here not in found:
            found.add(here)
            open_ += edges.get(here, ())
    return found


class Crates:
    """The crates of the programs, and their edges."""

    def __init__(self, target):
        metadata = json.loads(output("cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"))
        self.packages = {package["id"]: package for package in metadata["packages"]}
        self.edges, normal = {}, {}
        for node in metadata["resolve"]["nodes"]:
            kinds = {dep["pkg"]: {kind["kind"] for kind in dep["dep_kinds"]} for dep in node["deps"]}
            self.edges[node["id"]] = [pkg for pkg, kind in kinds.items() if kind & {None, "build"}]
            normal[node["id"]] = [pkg for pkg, kind in kinds.items() if None in kind]
        self.roots = {package["name"]: id for id, package in self.packages.items() if package["name"] in PROGRAMS}
        self.all = reached(self.roots.values(), self.edges)
        self.shipped = reached(self.roots.values(), normal)

    def reference(self, id):
        package = self.packages[id]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(self, id, sums):
        package = self.packages[id]
        name, version = package["name"], package["version"]
        component = {
            "type": "application" if id in self.roots.values() else "library", "bom-ref": self.reference(id), "name": name,
            "version": version, "scope": "required" if id in self.shipped else "excluded", "purl": self.reference(id),
            "licenses": licences(package["license"])}
        if (name, version) in sums:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        if package["description"]:
            component["description"] = " ".join(package["description"].split())
        if package["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return component


def packages_of_pages():
    """(components, edges) of the packages of npm that are in the pages."""
    lock = json.loads((REPOSITORY / PAGES).read_text())["packages"]
    shipped = {path: package for path, package in lock.items() if path and not package.get("dev")}
    names = {path.rpartition("node_modules/")[2]: path for path in shipped if path.count("node_modules/") == 1}
    assert len(names) == len(shipped), "a package is there in two versions: this script does not tell them apart"

    def reference(name):
        return f"pkg:npm/{name.replace('@', '%40')}@{shipped[names[name]]['version']}"

    components, edges = [], {}
    for name, path in names.items():
        package = shipped[path]
        algorithm, _, digest = package["integrity"].partition("-")
        components.append({
            "type": "library", "bom-ref": reference(name), "name": name, "version": package["version"], "scope": "required",
            "purl": reference(name), "licenses": licences(package.get("license")),
            "hashes": [{"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}]})
        edges[reference(name)] = [reference(other) for other in package.get("dependencies", {})]
    top = [reference(name) for name in lock[""]["dependencies"]]
    return components, edges, top


def document(target):
    crates, sums = Crates(target), checksums()
    components = [crates.component(id, sums) for id in crates.all]
    edges = {crates.reference(id): [crates.reference(to) for to in crates.edges[id]] for id in crates.all}
    pages, of_pages, top = packages_of_pages()
    (with_pages,) = (reference for reference in edges if reference.startswith(f"pkg:cargo/{PAGES_OF}@"))
    edges[with_pages] += top
    version = crates.packages[crates.roots["tactus"]]["version"]
    root = f"tactus-programs@{version}"
    edges = {**edges, **of_pages, root: [crates.reference(id) for id in crates.roots.values()]}
    made = datetime.datetime.fromtimestamp(int(output("git", "log", "-1", "--format=%ct")), datetime.UTC)
    locks = (REPOSITORY / "Cargo.lock").read_text() + (REPOSITORY / PAGES).read_text()
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{target} {version} {locks}')}",
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application", "bom-ref": root, "name": "tactus", "version": version, "licenses": licences("Apache-2.0"),
                "properties": [{"name": "target", "value": target}]}},
        "components": sorted(components + pages, key=lambda component: component["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(to))} for ref, to in sorted(edges.items())]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--target", default=TARGET, help=f"what the programs are built for, by default {TARGET}")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+", arguments.target):
        parser.error("--target: a triple as rustc has them")
    bill = document(arguments.target)
    arguments.file.write_text(json.dumps(bill, indent=1) + "\n")
    print(f"{arguments.file}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
