"""Writes the first page of the crates' documentation, which rustdoc does not: `crates_page.py target/doc/index.html`.

A table of the crates, lower layers first as in integration-tests/test_layers.py, with the first sentence of each."""
import ast
import html
import pathlib
import re
import sys
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Crates of Tactus</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
td { padding: .2rem 1rem .2rem 0; vertical-align: top }
</style>
<h1>Crates of Tactus</h1>
<p>How they belong together is on the page <em>Architecture</em> of the book (<code>make book</code>, or <code>docs/ARCHITECTURE.md</code>).
A crate depends on those above it.</p>
"""


def libs():
    """Names of libs, lower ones first."""
    tree = ast.parse((REPOSITORY / "integration-tests/test_layers.py").read_text())
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(values["LIBS"])


def first_sentence(path):
    """Of the comment that begins a source file."""
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith("//!") or not line[3:].strip():
            break
        words.append(line[3:].strip())
    return re.sub(r"\[([^]]+)\]", r"\1", " ".join(words))


def row(folder):
    name = tomllib.loads((folder / "Cargo.toml").read_text())["package"]["name"]
    lib = folder / "src" / "lib.rs"
    text = first_sentence(lib if lib.exists() else folder / "src" / "main.rs")
    link = name.replace("-", "_")
    return f'<tr><td><a href="{link}/index.html">{name}</a></td><td>{html.escape(text)}</td></tr>\n'


def page():
    services = sorted(path.parent for path in (REPOSITORY / "services").glob("*/Cargo.toml"))
    tables = [("Libs", [REPOSITORY / "libs" / name for name in libs()]), ("Services", services)]
    return HEAD + "".join(f"<h2>{title}</h2>\n<table>\n{''.join(map(row, folders))}</table>\n" for title, folders in tables)


def main():
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page())
    print(path)


if __name__ == "__main__":
    main()
