"""The examples of the README and of docs/ run as they stand there. Links are checked by test_book.py.

```python blocks that begin with `# NAME.py` become that file; other python blocks run. ```sh blocks run, all of a page in one
shell, in order. ```yaml blocks must load as a configuration, unless their first line names a file of another program. Blocks marked
```console are shown, not run. Default ports become those of the server under test. docs/recipes.md is run by test_recipes.py."""
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from harness import dialects
from harness.certificates import Certificates
from harness.documents import FENCE, file_name
from harness.paths import REPOSITORY, tactus_binary
from harness.server import merge

PAGES = sorted(p for p in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
EXAMPLES = [p for p in PAGES if p.name != "recipes.md" and re.search(r"^```(sh|python)\b", p.read_text(), re.MULTILINE)]
CONFIGURATIONS = [
    (page, number, text)
    for page in PAGES
    for number, (language, text) in enumerate(FENCE.findall(page.read_text())) if language == "yaml" and not file_name(text)
]


def name(page):
    return str(page.relative_to(REPOSITORY))


def ported(text, server):
    """The text with the default ports replaced by the server's."""
    ports = server.ports
    for default, port in (
        (3200, server.http_port), (4317, server.otlp_grpc_port), (4318, server.otlp_http_port), (9095, server.grpc_port),
        (14250, ports.jaeger_grpc), (14268, ports.thrift_http), (9411, ports.zipkin), (16686, ports.query_http),
        (16685, ports.query_grpc), (5778, ports.sampling_http),
    ):
        text = re.sub(rf"(127\.0\.0\.1|localhost):{default}\b", rf"\g<1>:{port}", text)
    return text


def with_files(page, text, directory):
    """The text with the files it names made: authorities, and the strategies that the page itself shows."""
    if "/etc/tactus/archive-ca.pem" in text:
        text = text.replace("/etc/tactus/archive-ca.pem", str(Certificates(directory).authority))
    if "/etc/tactus/strategies.json" in text:
        strategies = directory / "strategies.json"
        strategies.write_text(next(shown for language, shown in FENCE.findall(page.read_text()) if language == "json"))
        text = text.replace("/etc/tactus/strategies.json", str(strategies))
    return text


@pytest.mark.parametrize("page", EXAMPLES, ids=name)
def test_examples_of_a_page_run(page, servers, tmp_path):
    # The usual window of a search without start and end.
    server = dialects.start(servers, extra={
        "compactor": {"jobs": {"api_enabled": True}},
        "query_frontend": {
            "mcp_server": {"enabled": True}, "search": {"query_backend_after": "15m", "query_ingesters_until": "30m"}}})
    work = tmp_path / "examples"
    work.mkdir()
    script = ["set -euo pipefail", "shopt -s expand_aliases"]
    for language, text in FENCE.findall(page.read_text()):
        text = ported(text, server)
        if language == "python":
            file = file_name(text)
            path = work / (file or f"example{len(script)}.py")
            path.write_text(text)
            if not file:
                script.append(f"python3 {path.name}")
        elif language == "sh":
            # A request that fails must fail the example.
            script.append(re.sub(r"\bcurl ", "curl --fail-with-body ", text))
    path = f"{pathlib.Path(sys.executable).parent}:{pathlib.Path(tactus_binary()).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=work, capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path})
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    if page == REPOSITORY / "README.md":
        assert done.stdout.count("checkout") >= 2, "the walk-through finds its trace by id and by TraceQL"


@pytest.mark.parametrize(("page", "number", "text"), CONFIGURATIONS, ids=lambda v: name(v) if hasattr(v, "name") else "")
def test_configuration_of_a_page_loads(page, number, text, tmp_path):
    file = tmp_path / "tactus.yaml"
    shown = yaml.safe_load(text)
    assert isinstance(shown, dict)
    # A page shows what it speaks of; a start also needs a place for blocks.
    stored = "backend" in shown.get("storage", {}).get("trace", {})
    if not stored:
        text = yaml.safe_dump(merge({"storage": {"trace": {"backend": "local", "local": {"path": "blocks"}}}}, shown))
    file.write_text(with_files(page, text, tmp_path))
    done = subprocess.run(
        [tactus_binary(), f"-config.file={file}", "-config.expand-env", "-config.verify"], capture_output=True, text=True,
        timeout=60, cwd=tmp_path)
    assert done.returncode == 0, f"{name(page)}, block {number}: {done.stderr}"


def test_changes_that_contributing_shows_apply(tmp_path):
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    changes = [text for language, text in FENCE.findall(page) if language == "diff"]
    assert len(changes) == 2
    for number, change in enumerate(changes):
        file = tmp_path / f"{number}.diff"
        file.write_text(change)
        # Also for whoever has just made them.
        tries = [subprocess.run(["git", "apply", "--check", *way, file], cwd=REPOSITORY, capture_output=True, text=True)
                 for way in ([], ["--reverse"])]
        assert any(done.returncode == 0 for done in tries), tries[0].stderr


def test_files_that_a_page_names_exist():
    folders = "|".join(("libs", "services", "docs", "deploy", "integration-tests", "conformance", "proto", "scripts", "helm", "bench", "fuzz"))
    for page in [*PAGES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md"]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for path in re.findall(rf"`((?:{folders})/[\w./*-]+)`", text):
            assert "NAME" in path or any(REPOSITORY.glob(path.rstrip("/"))) or made(path), f"{name(page)}: {path}"
        for test in re.findall(r"`(test_\w+\.py)`", text):
            assert (REPOSITORY / "integration-tests" / test).exists(), f"{name(page)}: {test}"


def made(path):
    """Whether a path is one of what builds leave."""
    return not subprocess.run(["git", "check-ignore", "--quiet", path], cwd=REPOSITORY).returncode


def test_every_make_target_in_the_docs_exists():
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in [*PAGES, REPOSITORY / "CONTRIBUTING.md"]:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name(page)}: make {target}"
