"""Makes the book of the documentation: `book.py OUTPUT`, with mdBook at $MDBOOK, else on PATH.

Pages lie in several folders of the checkout, and mdBook reads one. So the pages that docs/SUMMARY.md names are copied, in the
places that they have to each other, and links to files that are no pages become their text."""
import argparse
import os
import pathlib
import posixpath
import re
import shutil
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = REPOSITORY / "docs" / "SUMMARY.md"
# `[text](target)`, also of images. Code may not be split here: code spans and blocks are matched first and left alone.
LINK = re.compile(r"(?P<code>^```.*?^```$|`[^`\n]+`)|(?P<image>!?)\[(?P<text>[^][]*)\]\((?P<target>[^)\s]+)\)",
                  re.MULTILINE | re.DOTALL)


def links(text):
    """The links of a page outside of its code: (is an image, text, target)."""
    return [(bool(found["image"]), found["text"], found["target"]) for found in LINK.finditer(text) if not found["code"]]


def pages():
    """The pages of the book in the order of the summary, as paths from the top of the checkout."""
    return [resolve("docs/SUMMARY.md", target) for _, _, target in links(SUMMARY.read_text())]


def resolve(page, target):
    """Where a relative link of a page leads, from the top of the checkout; a folder means its README.md."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition("#")[0] or posixpath.basename(page)))
    return posixpath.join(path, "README.md") if (REPOSITORY / path / "README.md").is_file() else path


def staged(page, text, known):
    """A page's text as the book has it. `known`: paths that are in the book."""
    def replace(found):
        if found["code"] or re.match(r"[a-z]+:", found["target"]):
            return found[0]
        path = resolve(page, found["target"])
        if path not in known:
            return found["text"]
        anchor = "".join(found["target"].partition("#")[1:])
        relative = posixpath.relpath(path, posixpath.dirname(page) or ".")
        # mdBook calls the page of a folder index.html, and leaves links to it as they are.
        relative = re.sub(r"\bREADME\.md$", "index.md", relative)
        return f"{found['image']}[{found['text']}]({relative}{anchor})"
    return LINK.sub(replace, text)


def stage(directory):
    """Writes what mdBook reads into a directory."""
    source = directory / "src"
    names = pages()
    texts = {page: (REPOSITORY / page).read_text() for page in names}
    images = {resolve(page, target) for page, text in texts.items() for is_image, _, target in links(text) if is_image}
    known = {*names, *images}
    for path in known:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        if path in images:
            shutil.copyfile(REPOSITORY / path, source / path)
        else:
            (source / path).write_text(staged(path, texts[path], known))
    summary = re.sub(r"\]\(([^)]+)\)", lambda found: f"]({resolve('docs/SUMMARY.md', found[1])})", SUMMARY.read_text())
    (source / "SUMMARY.md").write_text(summary)
    shutil.copyfile(REPOSITORY / "docs" / "book.toml", directory / "book.toml")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="folder that the book is written to; what was in it goes")
    output = parser.parse_args().output.resolve()
    with tempfile.TemporaryDirectory() as directory:
        stage(pathlib.Path(directory))
        subprocess.run([os.environ.get("MDBOOK", "mdbook"), "build", directory, "--dest-dir", str(output)], check=True)


if __name__ == "__main__":
    main()
