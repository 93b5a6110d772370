"""Makes README.md and values.schema.json of the Helm chart from its values.yaml. `--check` only says whether they are current.

Comments of values.yaml: `# -- text` describes the key below, `# @schema {...}` adds to its schema, a plain comment above a
section introduces it. A component's section takes the keys of `defaults`; maps written in braces are free in what they hold."""
import copy
import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).parent.parent / "helm" / "tactus"
COMPONENTS = (
    "singleBinary", "ingester", "distributor", "queryFrontend", "querier", "compactor", "metricsGenerator", "gateway", "memcached",
    "minio", "checker")
KEY = re.compile(r"^( *)([A-Za-z_]\w*):(?:\s+(.*))?$")
HEAD = """# Tactus on Kubernetes

<!-- Made of values.yaml by scripts/helm_docs.py. Do not edit. -->

{description}.

```console
$ helm install tactus helm/tactus --namespace tracing --create-namespace
$ helm install tactus helm/tactus --namespace tracing --set mode=distributed --values my-bucket.yaml
```

How to install, update, scale and migrate is in [Kubernetes](../../docs/operations/kubernetes.md). Kubernetes {kubernetes} or later.
A value that does not exist, or of another type, is refused by `values.schema.json`.

"""


class Key:
    """What the text of values.yaml says about one key."""

    def __init__(self, text="", intro="", schema=None, block=False):
        self.text, self.intro, self.schema, self.block = text, intro, schema or {}, block


def annotations(text):
    """Path -> Key, for every key that begins a line. An alias has what is below its anchor."""
    found, stack, comments, anchors = {}, [], [], {}
    literal = None  # indentation of the key whose text goes over several lines
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if literal is not None:
            if not line.strip() or indent > literal:
                continue
            literal = None
        if line.strip().startswith("#"):
            comments.append(line.strip().lstrip("#").strip())
            continue
        match = KEY.match(line)
        if not match:
            comments = []
            continue
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = (*[name for _, name in stack], match[2])
        stack.append((indent, match[2]))
        value = (match[3] or "").strip()
        said = [c for c in comments if not c.startswith("@schema")]
        described = " ".join(c.removeprefix("--").strip() for c in said) if any(c.startswith("--") for c in said) else ""
        key = Key(described, "" if described else " ".join(said), block=value == "" or value.startswith("&"))
        for comment in comments:
            if comment.startswith("@schema"):
                key.schema = {**key.schema, **json.loads(comment.removeprefix("@schema"))}
        found[path] = key
        if value.startswith("&"):
            anchors[value[1:]] = path
        if value.startswith("*"):
            origin = anchors[value[1:]]
            key.block = True
            for other, of in list(found.items()):
                if other[:len(origin)] == origin and other != origin:
                    found[(*path, *other[len(origin):])] = of
        if value in ("|", ">", "|-"):
            literal = indent
        comments = []
    return found


def type_of(value):
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "null"


def schema_of(value, path, keys):
    """The schema of a value: a map written over several lines is closed, any other open."""
    key = keys.get(path, Key())
    out = {"type": type_of(value)}
    if isinstance(value, dict) and key.block:
        out["additionalProperties"] = False
        out["properties"] = {name: schema_of(v, (*path, name), keys) for name, v in value.items()}
    if key.text:
        out["description"] = key.text
    out.update(copy.deepcopy(key.schema))
    if "enum" in out:
        del out["type"]
    return out


def combined(base, own):
    """The schema of a component's key that `defaults` has as well."""
    if "properties" not in own:
        return {**base, **{key: value for key, value in own.items() if key != "type"}}
    merged = dict(base.get("properties", {}))
    for name, schema in own["properties"].items():
        merged[name] = combined(merged[name], schema) if name in merged else schema
    return {**base, **own, "properties": merged, "additionalProperties": base.get("additionalProperties", False)}


def schema(values, keys):
    properties = {name: schema_of(value, (name,), keys) for name, value in values.items()}
    for name in COMPONENTS:
        own = combined(properties["defaults"], properties[name])
        for key in properties["defaults"]["properties"]:
            if key not in values[name]:
                own["properties"][key] = {"$ref": f"#/properties/defaults/properties/{key}"}
        properties[name] = own
    properties["tempo"] = {**properties["tactus"], "description": properties["tempo"]["description"]}
    # Charts above this one may hand on whatever they like here.
    properties["global"]["additionalProperties"] = True
    properties["global"]["properties"]["image"]["additionalProperties"] = True
    properties["enabled"] = {"type": "boolean", "description": "The condition of a chart that depends on this one; nothing here reads it"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart tactus", "type": "object",
        "additionalProperties": False, "properties": properties}


def rows(value, path, keys):
    """(key, default, description) of everything below a path, in order."""
    key = keys.get(path, Key())
    if isinstance(value, dict) and value and key.block:
        # A table has its own text above it.
        if key.text and len(path) > 1:
            yield ".".join(path), "", key.text.replace("|", "\\|")
        for name, below in value.items():
            yield from rows(below, (*path, name), keys)
        return
    default = "a template, see values.yaml" if isinstance(value, str) and "\n" in value else f"`{json.dumps(value)}`"
    text = [key.text]
    if "enum" in key.schema and "`" not in key.text:
        text.append("One of " + ", ".join(f"`{e}`" for e in key.schema["enum"] if e) + ".")
    yield ".".join(path), default.replace("|", "\\|"), " ".join(t for t in text if t).replace("|", "\\|")


def table(lines):
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *(f"| `{k}` | {d} | {t} |" for k, d, t in lines)]) + "\n"


def readme(values, keys, chart):
    out = [HEAD.format(description=chart["description"], kubernetes=chart["kubeVersion"].removeprefix(">=").removesuffix("-0"))]
    plain = [name for name in values if not keys[(name,)].block]
    out.append("## General\n\n" + table(line for name in plain for line in rows(values[name], (name,), keys)))
    for name, value in values.items():
        if name in plain:
            continue
        intro = keys[(name,)].intro or keys[(name,)].text
        if name in COMPONENTS:
            intro = f"{intro} Takes what [`defaults`](#defaults) has as well.".strip()
        out.append(f"## {name}\n\n" + (intro + "\n\n" if intro else "") + table(rows(value, (name,), keys)))
    return "\n".join(out)


def generated():
    """Path -> text of what is made of values.yaml."""
    text = (CHART / "values.yaml").read_text()
    values, keys = yaml.safe_load(text), annotations(text)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return {
        CHART / "README.md": readme(values, keys, chart),
        CHART / "values.schema.json": json.dumps(schema(values, keys), indent=1) + "\n",
    }


def main():
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path}: not what values.yaml says; run scripts/helm_docs.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(generated()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
