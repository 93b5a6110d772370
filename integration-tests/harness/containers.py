"""Services of a compose file without containers: each is a machine of a network, with the ports, names, files and variables that the
file gives it. Programs are the real ones of this machine; what is not there (Grafana) is left out."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

from .checker import tactusctl
from .paths import REPOSITORY, tactus_binary
from .program import Program
from .server import merge

DOCKERFILE = REPOSITORY / "Dockerfile"
# Variables of the test's own process that a container does not have.
KEPT = ("PATH", "HOME", "LANG")


def image():
    """Variables, entry point and ports of the image's last stage."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    last = text[text.rindex("\nFROM "):]
    env = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", last, re.MULTILINE))))
    ports = {port.removesuffix("/tcp") for line in re.findall(r"^EXPOSE (.*)$", last, re.MULTILINE) for port in line.split()}
    entry = yaml.safe_load(re.search(r"^ENTRYPOINT (.*)$", last, re.MULTILINE)[1])
    return env, entry, ports


def interpolated(text, variables=None):
    """The text of a compose file with `${NAME:-default}` as compose replaces it."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: (variables or {}).get(match[1], match[2]), text)


def compose(path):
    return yaml.safe_load(interpolated(pathlib.Path(path).read_text()))


def is_tactus(service):
    return service["image"] == "tactus"


def is_server(service):
    return is_tactus(service) and "entrypoint" not in service


def own_program(service):
    """The image's entry point, or the one that the service has in its place."""
    return [tactus_binary() if is_server(service) else tactusctl()]


class Service(Program):
    """One running service. `root` takes the place of the container's file system for what it mounts and writes."""

    def __init__(self, name, service, folder, host, root, program, changes=None):
        self.name, self.service, self.host, self.root = name, service, host, pathlib.Path(root)
        super().__init__(self.root / "log")
        self.env = {key: os.environ[key] for key in KEPT if key in os.environ}
        self.env["HOSTNAME"] = service.get("hostname", name)
        (self.root / "var" / "lib" / "tactus").mkdir(parents=True)
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                source = (folder / source).resolve()
                copy = self.root / target.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
                if changes and source.name in changes:
                    copy.write_text(yaml.safe_dump(merge(yaml.safe_load(copy.read_text()), changes[source.name]), sort_keys=False))
        self.program = list(program)
        if is_tactus(service):
            self.env.update(image()[0])
        self.env.update(service.get("environment", {}))

    def command(self, *more):
        """The service's words, with the files it mounts where they are here."""
        words = [word.replace("=/etc/", f"={self.root}/etc/") for word in self.service.get("command", [])]
        return [*self.program, *words, *more]

    def start(self, names):
        """Runs the program on its machine, where the other services have their names and /var/lib is below `root`."""
        hosts = self.root / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{host.address} {name}\n" for name, host in names.items()))
        mounts = 'mount --bind "$0" /etc/hosts && mount --bind "$1" /var/lib && shift && cd / && exec "$@"'
        self.run([*self.host.prefix, "unshare", "-m", "sh", "-c", mounts, hosts, self.root / "var/lib", *self.command()], env=self.env)
        return self

    def url(self, port):
        return f"http://{self.host.address}:{port}"

    def verify(self):
        """-config.verify with the command and the variables of the service."""
        return subprocess.run(self.command("-config.verify"), env=self.env, capture_output=True, text=True, timeout=60, cwd=self.root)


class Compose:
    """A compose file's services on a network. `changes`: what is laid over the files that services mount, by their names.
    `prepare`: what is done once a service runs, before those start that depend on it. `profiles`: those that are on."""

    def __init__(self, path, network, directory, programs, changes=None, prepare=None, profiles=()):
        self.prepare = prepare or {}
        self.path = pathlib.Path(path)
        self.document = compose(path)
        self.services = {}
        for name, service in self.document["services"].items():
            if "profiles" in service and not set(profiles) & set(service["profiles"]):
                continue
            program = own_program(service) if is_tactus(service) else programs.get(service["image"].split(":")[0])
            if program:
                self.services[name] = Service(name, service, self.path.parent, network.host(), directory / name, program, changes)

    def __enter__(self):
        names = {name: service.host for name, service in self.services.items()}
        # Those that depend on others last; no file has more than one step.
        for service in sorted(self.services.values(), key=lambda service: bool(service.service.get("depends_on"))):
            service.start(names)
            self.prepare.get(service.name, lambda _: None)(service)
        return self

    def __exit__(self, kind, *_):
        # Tactus first, while what it sends to at its end still answers.
        for service in sorted(self.services.values(), key=lambda service: not is_tactus(service.service)):
            service.close()
            if kind:
                print(f"--- {service.name}", service.logs()[-1500:], sep="\n", file=sys.stderr)

    def __getitem__(self, name):
        return self.services[name]
