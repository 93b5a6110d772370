"""deploy/kubernetes: what the chart says, valid for Kubernetes, taken by Kustomize and by Tactus, and complete in any namespace."""
import json
import os
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from harness.checker import environment, tactusctl
from harness.helm import Manifests
from harness.paths import REPOSITORY, tactus_binary
from harness.tools import need

KUBERNETES = REPOSITORY / "deploy/kubernetes"
MODES = [name for name in yaml.safe_load((KUBERNETES / "values.yaml").read_text())]
VERSIONS = ("1.25", "1.31", kubernetes_validate.latest_version())
BUCKET = {
    "S3_BUCKET": "traces", "S3_ENDPOINT": "127.0.0.1:9000", "S3_REGION": "eu-west-1", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret",
    "S3_INSECURE": "true"}

every_mode = pytest.mark.parametrize("mode", MODES)


def test_manifests_are_what_the_chart_says():
    need("helm", REPOSITORY / "integration-tests/.cache/bin/helm")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/kubernetes_manifests.py", "--check"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def built(directory, mode, overlay):
    """What the real Kustomize makes of an overlay beside the repository."""
    kustomize = need("kustomize", REPOSITORY / "integration-tests/.cache/bin/kustomize")
    folder = pathlib.Path(os.path.relpath(KUBERNETES / mode, directory))
    (directory / "kustomization.yaml").write_text(yaml.safe_dump({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [str(folder)],
        "components": [str(folder / "checker")], **overlay}))
    done = subprocess.run([kustomize, "build", directory], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Manifests(done.stdout)


def plain(mode):
    files = (KUBERNETES / mode / "tactus.yaml", KUBERNETES / mode / "checker/checker.yaml")
    return Manifests("---\n".join(path.read_text() for path in files))


@every_mode
def test_plain_manifests_fit_the_schemas_of_kubernetes_and_name_no_namespace(mode):
    manifests = plain(mode)
    assert "Deployment" in {item["kind"] for item in manifests.objects} and manifests.of("StatefulSet")
    for item in manifests.objects:
        assert "namespace" not in item["metadata"]
        assert not [label for label in item["metadata"]["labels"] if "helm" in label]
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)


@every_mode
def test_claims_are_as_servers_store_them(mode):
    claims = [claim for item in plain(mode).of("StatefulSet").values() for claim in item["spec"]["volumeClaimTemplates"]]
    assert claims and all((claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim") for claim in claims)


@every_mode
def test_overlay_changes_namespace_image_and_replicas_and_adds_the_bucket(mode, tmp_path):
    workload = {"single": "tactus", "clustered": "tactus", "distributed": "tactus-querier"}[mode]
    manifests = built(tmp_path, mode, {
        "namespace": "elsewhere", "images": [{"name": "tactus/tactus", "newName": "registry.test/t", "newTag": "9"}],
        "replicas": [{"name": workload, "count": 5}],
        "secretGenerator": [{"name": "tactus-bucket", "literals": [f"{key}={value}" for key, value in BUCKET.items()]}]})
    assert {item["metadata"]["namespace"] for item in manifests.objects} == {"elsewhere"}
    for item in manifests.objects:
        kubernetes_validate.validate(item, VERSIONS[-1], strict=True)
    configured = {**manifests.of("ConfigMap"), **manifests.of("Secret")}
    replicas = {item["metadata"]["name"]: item["spec"]["replicas"] for item in manifests.workloads()}
    assert replicas[workload] == 5
    for name, _, spec in manifests.pods():
        for container in spec["containers"]:
            assert container["image"] == "registry.test/t:9", name
            for source in container.get("envFrom", []):
                assert source["secretRef"]["name"] in configured, "the generated Secret has another name, which must be followed"
        for volume in spec.get("volumes", []):
            source = volume.get("configMap", {}).get("name")
            assert source is None or source in configured
        assert spec["serviceAccountName"] in manifests.of("ServiceAccount")


@every_mode
def test_names_of_other_processes_are_services_of_the_same_namespace(mode):
    manifests = plain(mode)
    services = manifests.of("Service")
    text = manifests.file("tempo.yaml")
    for _, _, spec in manifests.pods():
        text += " ".join(" ".join(container["args"]) for container in spec["containers"])
    hosts = set(re.findall(r"(?:dns\+|://)([\w.-]+):\d+", text))
    assert hosts and hosts <= services.keys(), hosts - services.keys()


@every_mode
def test_tactus_takes_the_configuration_and_tactusctl_the_flags(mode, tmp_path):
    manifests = plain(mode)
    (tmp_path / "overrides.yaml").write_text(manifests.file("overrides.yaml"))
    path = tmp_path / "tempo.yaml"
    text = manifests.file("tempo.yaml").replace("/runtime-config/", f"{tmp_path}/").replace("/var/tempo", f"{tmp_path}/data")
    path.write_text(text)
    processes = list(manifests.processes())
    assert len(processes) == {"single": 1, "clustered": 1, "distributed": 5}[mode]
    for name, _, container in processes:
        arguments = [argument.replace("/conf/tempo.yaml", str(path)) for argument in container["args"]]
        done = subprocess.run(
            [tactus_binary(), *arguments, "-config.verify"], capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ, **BUCKET})
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    (checker,) = manifests.of("Deployment")["tactus-checker"]["spec"]["template"]["spec"]["containers"]
    # Everything is taken but one flag that is not there, which is looked at last.
    done = subprocess.run([tactusctl(), *checker["args"], "--nonsense"], capture_output=True, text=True, timeout=30, env=environment())
    assert done.returncode == 2 and "--nonsense" in done.stderr, json.dumps(done.stderr)
