"""An image as `docker save` writes it, and containers of it by runc: the file system that nobody may write, the user, variables and words
of the image's configuration, no capability."""
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tarfile

from .program import PR_SET_PDEATHSIG, Program
from .tools import need

# Directories that engines make for what they mount.
MOUNTED = ("proc", "sys", "dev")


def stop_with_parent():
    """Run in a child before runc: when the test process dies it hands SIGTERM on to the container, which killing it would leave behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Image:
    """A file of `scripts/image.sh`, unpacked below `folder`: `config` is the image's configuration, `root` its file system."""

    def __init__(self, path, folder):
        self.root = folder / "root"
        with tarfile.open(path) as archive:
            (manifest,) = json.load(archive.extractfile("manifest.json"))
            self.document = json.load(archive.extractfile(manifest["Config"]))
            self.config = self.document["config"]
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                    # Numbers of users, and bits of files, as they are in the image.
                    files.extractall(self.root, numeric_owner=True, filter="fully_trusted")


class Container(Program):
    """A container of an image on a machine of a network. `volume` is the directory that its volume is, `names` the text of /etc/hosts."""

    def __init__(self, image, host, folder, volume, names):
        self.runc = [need("runc"), "--root", str(folder / "runc")]
        self.name, self.host, self.folder = f"tactus-test-{os.getpid()}-{host.pid}", host, folder
        super().__init__(folder / "log")
        bundle = folder / "bundle"
        bundle.mkdir()
        for name in MOUNTED:
            (image.root / name).mkdir(exist_ok=True)
        (image.root / "etc/hosts").touch()
        (bundle / "hosts").write_text(names)
        subprocess.run([*self.runc, "spec"], cwd=bundle, check=True, timeout=20)
        spec = json.loads((bundle / "config.json").read_text())
        config = image.config
        user, group = map(int, config["User"].split(":"))
        spec["process"].update(
            terminal=False, args=config["Entrypoint"], env=config["Env"], cwd=config["WorkingDir"], noNewPrivileges=True, capabilities={},
            user={"uid": user, "gid": group}, rlimits=[])
        spec["root"] = {"path": str(image.root), "readonly": True}
        (target,) = config["Volumes"]
        spec["mounts"] += [
            {"destination": target, "source": str(volume), "type": "bind", "options": ["rbind", "rw"]},
            {"destination": "/etc/hosts", "source": str(bundle / "hosts"), "type": "bind", "options": ["bind", "ro"]}]
        # The network is that of the machine, on which runc is started.
        spec["linux"]["namespaces"] = [namespace for namespace in spec["linux"]["namespaces"] if namespace["type"] != "network"]
        (bundle / "config.json").write_text(json.dumps(spec))
        self.bundle = bundle

    def __enter__(self):
        command = [*self.host.prefix, *self.runc, "run", "--bundle", self.bundle, self.name]
        self.run(command, preexec_fn=stop_with_parent)
        return self

    def __exit__(self, *_):
        subprocess.run([*self.runc, "delete", "--force", self.name], capture_output=True, timeout=20)
        self.process.wait(10)
        shutil.rmtree(self.bundle)

    def url(self, port):
        return f"http://{self.host.address}:{port}"

    def execute(self, *words):
        """Runs a program in the container, as `docker exec` does."""
        return subprocess.run([*self.host.prefix, *self.runc, "exec", self.name, *words], capture_output=True, text=True, timeout=60)

    def stop(self):
        """As `docker stop`: the exit code after SIGTERM."""
        subprocess.run([*self.runc, "kill", self.name, signal.SIGTERM.name], check=True, timeout=20)
        return self.process.wait(30)
