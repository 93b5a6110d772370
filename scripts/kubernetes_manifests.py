#!/usr/bin/env python3
"""Writes the manifests of deploy/kubernetes, plain and for Kustomize, of the Helm chart and deploy/kubernetes/values.yaml. With `--check` it
writes nothing and fails where a file is not as it would write it."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CHART = REPOSITORY / "helm/tactus"
OUT = REPOSITORY / "deploy/kubernetes"
HELM = REPOSITORY / "integration-tests/.cache/bin/helm"
RELEASE, NAMESPACE = "tactus", "namespace-of-nobody"
NOTE = "# Written by scripts/kubernetes_manifests.py of the Helm chart and values.yaml: change those.\n"
# Labels that say who installed it.
OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")
COMPONENT = "app.kubernetes.io/component"


class Plain(yaml.SafeDumper):
    """No anchors; several lines as a block."""

    def ignore_aliases(self, _):
        return True


Plain.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None))


def rendered(values):
    """The objects that values of the chart become, in any namespace and without a trace of Helm."""
    helm = str(HELM) if HELM.exists() else shutil.which("helm")
    if not helm:
        raise SystemExit("helm is not installed: make test-tools")
    with tempfile.TemporaryDirectory() as home:
        path = pathlib.Path(home) / "values.yaml"
        path.write_text(yaml.safe_dump({**values, "checker": {"enabled": True}}))
        env = {"HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home}
        done = subprocess.run(
            [helm, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--skip-tests", "--kube-version", "1.31.0", "--values", path],
            capture_output=True, text=True, timeout=120, env=env)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    # Short names are completed by the pod's own namespace.
    text = done.stdout.replace(f".{NAMESPACE}.svc.cluster.local", "").replace(f"{RELEASE}.{NAMESPACE}", RELEASE)
    objects = [without_helm(item) for item in yaml.safe_load_all(text) if item]
    left = [item["metadata"]["name"] for item in objects if NAMESPACE in yaml.safe_dump(item)]
    if left:
        raise SystemExit(f"the namespace stands in {', '.join(left)}")
    return objects


def without_helm(item):
    item["metadata"].pop("namespace", None)
    for label in OF_HELM:
        item["metadata"]["labels"].pop(label, None)
    return item


def dumped(objects):
    return NOTE + yaml.dump_all(objects, Dumper=Plain, sort_keys=False, width=1000)


def files():
    """Path -> text of everything that is written."""
    out = {}
    for name, values in yaml.safe_load((OUT / "values.yaml").read_text()).items():
        objects = rendered(values)
        checker = [item for item in objects if item["metadata"]["labels"][COMPONENT] == "checker"]
        servers = [item for item in objects if item not in checker]
        assert checker and servers
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["tactus.yaml"]}
        component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "resources": ["checker.yaml"]}
        out[OUT / name / "tactus.yaml"] = dumped(servers)
        out[OUT / name / "kustomization.yaml"] = dumped([kustomization])
        out[OUT / name / "checker" / "checker.yaml"] = dumped(checker)
        out[OUT / name / "checker" / "kustomization.yaml"] = dumped([component])
    return out


def main():
    written = files()
    there = {path for path in OUT.glob("*/**/*.yaml")}
    wrong = [path for path, text in written.items() if path not in there or path.read_text() != text]
    strange = there - written.keys()
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{path.relative_to(REPOSITORY)} is not what the chart says: make kubernetes" for path in [*wrong, *strange]) or 0)
    for path in strange:
        path.unlink()
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written[path])
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
