"""The image that `scripts/image.sh` makes of the built programs: what is in it, and that it works as a container."""
import os
import re
import shutil
import stat
import subprocess

import pytest
import yaml

from harness.containers import image as described
from harness.netns import Network
from harness.oci import Container, Image
from harness.paths import REPOSITORY
from harness.programs import stripped
from harness.tools import need
from harness.waiting import eventually
from test_deployment import assert_found, push


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    need("buildah")
    if os.getuid():
        pytest.skip("files of several users need root")
    folder = tmp_path_factory.mktemp("image")
    done = subprocess.run(
        [REPOSITORY / "scripts/image.sh", folder / "image.tar", *stripped(folder)], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    yield Image(folder / "image.tar", folder)
    shutil.rmtree(folder)


def test_configuration_is_that_of_the_dockerfile(image):
    config = image.config
    env, entry, ports = described()
    assert config["Entrypoint"] == entry and not config["Cmd"]
    assert set(config["Env"]) >= {f"{name}={value}" for name, value in env.items()}
    assert {port.removesuffix("/tcp") for port in config["ExposedPorts"]} == ports
    # Kubernetes' runAsNonRoot reads a number, and no name.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert list(config["Volumes"]) == [config["WorkingDir"]] == ["/var/lib/tactus"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/tactus", "-health"] and config["StopSignal"] == "SIGTERM"
    label = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert label["version"] == yaml.safe_load((REPOSITORY / "helm/tactus/Chart.yaml").read_text())["appVersion"]
    assert label["title"] == "Tactus" and label["licenses"] == "Apache-2.0" and re.fullmatch(r"[0-9a-f]{40}|unknown", label["revision"])


def test_files_are_roots_and_few(image):
    user = int(image.config["User"].split(":")[0])
    programs = set()
    for path in image.root.rglob("*"):
        state, name = path.lstat(), "/" + str(path.relative_to(image.root))
        assert not state.st_mode & (stat.S_ISUID | stat.S_ISGID), name
        assert state.st_uid == (user if name in ("/var/lib/tactus", "/var/tempo") else 0), name
        assert not state.st_mode & stat.S_IWOTH or name == "/tmp", name
        if "/bin/" in name:
            programs.add(name)
    assert programs == {"/usr/bin/tactus", "/usr/bin/tactusctl"}
    assert (image.root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 50
    # A scanner knows libraries by the records of their packages.
    records = "".join(path.read_text() for path in (image.root / "var/lib/dpkg/status.d").iterdir())
    libraries = list(image.root.glob("lib*/**/*.so.*"))
    assert not libraries or re.search(r"^Package: libc6\n", records, re.MULTILINE) and "\nVersion: " in records
    assert all(list(image.root.glob(f"usr/share/doc/{package}/copyright")) for package in re.findall(r"^Package: (.+)$", records, re.MULTILINE))


def test_container_takes_spans_and_answers_with_a_file_system_that_nobody_may_write(image, tmp_path):
    need("runc")
    # A new volume is a copy of what is at its place in the image, with its owner.
    volume = tmp_path / "volume"
    volume.mkdir()
    owner = (image.root / "var/lib/tactus").stat()
    os.chown(volume, owner.st_uid, owner.st_gid)
    with Network() as network:
        host = network.host()
        names = f"127.0.0.1 localhost\n{host.address} tactus\n"
        (tmp_path / "first").mkdir()
        with Container(image, host, tmp_path / "first", volume, names) as container:
            def ready():
                assert container.process.poll() is None, container.logs()
                return container.execute("/usr/bin/tactus", "-health").returncode == 0

            eventually(ready, "the health check of the image says yes", 60, interval=0.2)
            trace_id = push(container.url(4318), "shop")
            assert_found(container.url(3200), trace_id, "shop")
            # Names of /etc/hosts are found from inside.
            checked = container.execute(
                "/usr/bin/tactusctl", "check", "--push-url", "http://tactus:4318", "--query-url", "http://tactus:3200", "--traces", "1")
            assert checked.returncode == 0, checked.stdout + checked.stderr
            assert container.stop() == 0, container.logs()
        assert "level=error" not in container.logs(), container.logs()
        (tmp_path / "second").mkdir()
        with Container(image, host, tmp_path / "second", volume, names) as container:
            eventually(lambda: container.execute("/usr/bin/tactus", "-health").returncode == 0, "it is ready again", 60, interval=0.2)
            assert_found(container.url(3200), trace_id, "shop")
