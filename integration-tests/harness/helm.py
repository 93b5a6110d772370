"""The Helm chart: what it renders, as a cluster would see it."""
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import jsonschema
import yaml
from kubernetes_validate import utils as _utils

from .paths import REPOSITORY
from .tools import need

CHART = REPOSITORY / "helm" / "tactus"
# Values files that tests render, and `helm lint` looks at.
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "t", "tracing"
FULLNAME = f"{RELEASE}-tactus"


def helm(*arguments):
    """Runs helm with a home of its own; the finished process, whatever it says."""
    program = need("helm", REPOSITORY / "integration-tests" / ".cache" / "bin" / "helm")
    with tempfile.TemporaryDirectory() as home:
        # It ends before it could fill the memory: a fifth of its processor time went into collecting garbage.
        env = {**os.environ, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home, "GOGC": "off"}
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, env=env)


def template(*arguments, version="1.33.0"):
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", version, *arguments)


def notes(directory, values):
    """What `helm install` prints. It wants a cluster, so a copy of the chart has the text in an object."""
    chart = pathlib.Path(directory) / "chart"
    shutil.copytree(CHART, chart, dirs_exist_ok=True)
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "notes.yaml").write_text(
        '{{- define "notes" }}' + text + '{{- end }}\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | toJson }}\n')
    done = helm(
        "template", RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", "1.33.0", "--show-only", "templates/notes.yaml",
        "--values", values_file(directory, values))
    assert done.returncode == 0, done.stderr
    return Manifests(done.stdout).of("Notes")["notes"]["text"]


def values_file(directory, values):
    path = pathlib.Path(directory) / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class Manifests:
    """The objects of one rendering."""

    def __init__(self, text):
        self.text = text
        self.objects = [item for item in yaml.safe_load_all(text) if item]

    def of(self, kind):
        """Objects of a kind by name."""
        return {item["metadata"]["name"]: item for item in self.objects if item["kind"] == kind}

    def workloads(self):
        """Deployments, StatefulSets and Jobs with pods."""
        return [item for item in self.objects if item["kind"] in ("Deployment", "StatefulSet", "Job")]

    def pods(self):
        """(name, labels, spec) of every pod there will be one or more of."""
        for item in self.workloads():
            template_of = item["spec"]["template"]
            yield item["metadata"]["name"], template_of["metadata"]["labels"], template_of["spec"]
        for name, item in self.of("Pod").items():
            yield name, item["metadata"]["labels"], item["spec"]

    def file(self, key):
        """What the one ConfigMap or Secret with this key has there."""
        (text,) = [
            {**item.get("data", {}), **item.get("stringData", {})}[key] for item in self.objects
            if item["kind"] in ("ConfigMap", "Secret") and key in {**item.get("data", {}), **item.get("stringData", {})}]
        return text

    def configuration(self):
        return yaml.safe_load(self.file("tempo.yaml"))

    def processes(self):
        """Tactus containers: (name of the workload, its replicas, the container)."""
        for item in self.workloads():
            for container in item["spec"]["template"]["spec"]["containers"]:
                if any(argument.startswith("-target=") for argument in container.get("args", [])):
                    yield item["metadata"]["name"], item["spec"].get("replicas"), container


# Where test-tools puts the schemas of objects that are not Kubernetes' own.
CUSTOM_SCHEMAS = REPOSITORY / "integration-tests" / ".cache" / "crds"


@functools.cache
def _custom_schemas():
    """(apiVersion, kind) -> validator, of the definitions that KEDA, the Prometheus operator and the Gateway API publish."""
    out = {}
    for path in CUSTOM_SCHEMAS.glob("*.yaml"):
        for definition in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = _closed(version["schema"]["openAPIV3Schema"])
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                out[key] = jsonschema.Draft202012Validator(schema)
    return out


def _closed(schema):
    """The schema without room for keys that it does not name: a server drops them without a word."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
        if schema["properties"].keys() >= {"metadata", "spec"}:
            out["properties"]["metadata"] = {"type": "object"}
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    return out


def validate_custom(item):
    """Checks an object that is not Kubernetes' own against the definition of its kind."""
    need("crds", CUSTOM_SCHEMAS / "monitoring.coreos.com_servicemonitors.yaml")
    _custom_schemas()[item["apiVersion"], item["kind"]].validate(item)


# Read anew for each object, schemas of megabytes would be most of the time.
_utils.schema_contents = functools.cache(_utils.schema_contents)
_utils.all_versions = functools.cache(_utils.all_versions)


@functools.cache
def rendered(path):
    """What a values file becomes; it must become something."""
    done = template("--values", path)
    assert done.returncode == 0, f"{path}: {done.stderr}"
    return Manifests(done.stdout)
