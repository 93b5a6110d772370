"""The documentation holds together: the book has every page, every link leads to a page and a heading, nothing is fetched."""
import collections
import html.parser
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from harness.paths import CACHE, REPOSITORY
from harness.tools import need

sys.path.insert(0, str(REPOSITORY / "scripts"))
import book  # noqa: E402

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=REPOSITORY, capture_output=True, text=True,
    check=True).stdout.split()
# What the program tells language models is no page of the manual.
TOLD_TO_MODELS = "libs/query/src/mcp/documents/"
# Pages of the checkout; what build tools put below it is none.
PAGES = sorted(
    page for page in TRACKED
    if page != "docs/SUMMARY.md" and not page.startswith(TOLD_TO_MODELS) and (REPOSITORY / page).is_file())


def headings(text):
    """The anchors of a page, as GitHub and mdBook make them of its headings."""
    anchors, seen = set(), collections.Counter()
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for title in re.findall(r"^#{1,6} (.+)$", plain, re.MULTILINE):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


@pytest.mark.parametrize(("text", "anchors"), [
    ("# Start and stop\n## `tail_sampling`\n", {"start-and-stop", "tail_sampling"}),
    ("# 4. Values, as they are\n### [A](b.md) and B\n", {"4-values-as-they-are", "a-and-b"}),
    ("# Metrics\n## Metrics\n```sh\n# no heading\n```\n", {"metrics", "metrics-1"}),
])
def test_anchors_follow_from_headings(text, anchors):
    assert headings(text) == anchors


@pytest.mark.parametrize("page", [*PAGES, "docs/SUMMARY.md"])
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    text = (REPOSITORY / page).read_text()
    for is_image, label, target in book.links(text):
        if re.match(r"[a-z]+:", target):
            assert not is_image, f"{page}: {target} would be fetched"
            continue
        path, _, anchor = target.partition("#")
        file = REPOSITORY / page if not path else REPOSITORY / pathlib.PurePosixPath(page).parent / path
        assert file.exists(), f"{page}: {target} does not exist"
        if anchor:
            linked = file if file.is_file() else file / "README.md"
            assert anchor in headings(linked.read_text()), f"{page}: {target} names no heading"
        assert label.strip(), f"{page}: the link to {target} has no text"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(page):
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`", "", (REPOSITORY / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"<(?:img|script|link|iframe|video|object|style)\b", prose, re.IGNORECASE)


def test_every_page_is_in_the_book_once():
    listed = collections.Counter(book.pages())
    assert not {page: count for page, count in listed.items() if count > 1}
    assert set(PAGES) - set(listed) == set(), "docs/SUMMARY.md does not name these pages"
    assert set(listed) - set(PAGES) == set(), "docs/SUMMARY.md names pages that are not there"


def test_links_to_files_that_are_no_pages_become_text():
    text = "[map](ARCHITECTURE.md#rooms), [rules](../deploy/rules.yaml), `[x](y.md)`, [adr](adr/), [web](https://example.org/)"
    known = {"docs/a.md", "docs/ARCHITECTURE.md", "docs/adr/README.md"}
    assert book.staged("docs/a.md", text, known) == (
        "[map](ARCHITECTURE.md#rooms), rules, `[x](y.md)`, [adr](adr/index.md), [web](https://example.org/)")


class Page(html.parser.HTMLParser):
    """What a page of the book links to, loads, and can be linked to by."""

    def __init__(self, text):
        super().__init__()
        self.linked, self.loaded, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"):
            self.ids.add(attrs["id"])
        if tag == "a" and attrs.get("href"):
            self.linked.append(attrs["href"])
        elif tag == "link" and attrs.get("href") or attrs.get("src"):
            self.loaded.append(attrs.get("src") or attrs["href"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The book as `make book` makes it: each page by its path."""
    output = tmp_path_factory.mktemp("book")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "book.py", str(output)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "MDBOOK": need("mdbook", CACHE / "bin" / "mdbook")})
    assert done.returncode == 0 and "WARN" not in done.stderr, done.stderr
    return output, {path: Page(path.read_text()) for path in output.rglob("*.html")}


def test_built_book_has_every_page_and_no_dead_link(built):
    output, found = built
    for page in book.pages():
        path = output / re.sub(r"(README)?\.md$", lambda name: "index.html" if name[1] else ".html", page)
        assert path in found, page
    for path, page in found.items():
        for target in [*page.linked, *page.loaded]:
            url = urllib.parse.urlsplit(target)
            if url.scheme in ("http", "https", "mailto"):
                assert target in page.linked, f"{path.name} loads {target}"
                continue
            # The page for addresses that do not exist is served anywhere, so that its links are from the root.
            base = output if url.path.startswith("/") else path.parent
            file = (base / urllib.parse.unquote(url.path).lstrip("/")).resolve() if url.path else path
            assert file.is_file(), f"{path.relative_to(output)}: {target}"
            if url.fragment and file in found:
                assert urllib.parse.unquote(url.fragment) in found[file].ids, f"{path.relative_to(output)}: {target}"
