"""The pods of a rendered chart as processes: each with a loopback address of its own, as pods have theirs.

A process gets the arguments and the configuration of its pod; the names of services become the addresses of the pods that they
select, mounted directories become directories of the test."""
import contextlib
import os
import pathlib
import pwd
import random
import re
import subprocess
import time

import requests
import yaml

from .helm import NAMESPACE, RELEASE, Manifests, template, values_file
from .paths import tactus_binary
from .ports import free_ports
from .program import Program
from .server import merge
from .tools import need

# Receivers listen on all addresses of a pod; here all pods are one host's.
ENDPOINT = re.compile(r"endpoint: \"?:(?=\d)")
SERVICE = re.compile(rf"({RELEASE}-[a-z-]+)\.{NAMESPACE}\.svc\.cluster\.local")


class Pod(Program):
    """One process."""

    def __init__(self, name, labels, address, directory):
        self.name, self.labels, self.address, self.directory = name, labels, address, pathlib.Path(directory)
        self.directory.mkdir(parents=True)
        super().__init__(self.directory / "log")
        self.title = name

    def spawn(self, command, env=None):
        self.run(command, cwd=self.directory, env=env)

    def await_answer(self, url, timeout=90):
        self.until(lambda: requests.get(url, timeout=5).status_code == 200, f"{self.name} answers {url}", timeout)

    def kill(self):
        if self.is_running():
            super().kill()


class Pods:
    """All Tactus pods of some values, and the gateway. `values` are laid over free ports and times that suit a test."""

    def __init__(self, directory, values):
        self.directory = pathlib.Path(directory)
        self.http, self.grpc, self.gossip, self.otlp_grpc, self.otlp_http = free_ports(5)
        fast = {
            "server": {"httpListenPort": self.http},
            "traces": {"otlp": {"grpc": {"port": self.otlp_grpc}, "http": {"port": self.otlp_http}}},
            "ingester": {"config": {"lifecycler": {"min_ready_duration": "0s"}}},
            "tactus": {"structuredConfig": {
                "server": {"grpc_listen_port": self.grpc}, "shutdown_delay": "0s",
                "memberlist": {"bind_port": self.gossip, "advertise_port": self.gossip, "gossip_interval": "200ms"}}}}
        done = template("--values", values_file(self.directory, merge(fast, values)))
        assert done.returncode == 0, done.stderr
        self.manifests = Manifests(done.stdout)
        self.net = f"127.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        self.pods, self.containers = {}, {}
        for workload in self.manifests.workloads():
            template_of = workload["spec"]["template"]
            for number in range(workload["spec"]["replicas"]):
                name = f"{workload['metadata']['name']}-{number}"
                container = template_of["spec"]["containers"][0]
                address = f"{self.net}.{len(self.pods) + 1}"
                self.pods[name] = Pod(name, template_of["metadata"]["labels"], address, self.directory / name)
                self.containers[name] = container

    def of(self, service):
        """Pods that a service selects."""
        selector = self.manifests.of("Service")[service]["spec"]["selector"]
        return [pod for pod in self.pods.values() if selector.items() <= pod.labels.items()]

    def component(self, name):
        return [pod for pod in self.pods.values() if pod.labels["app.kubernetes.io/component"] == name]

    def _tactus(self, pod, container):
        """Starts a Tactus process with what its pod has, at its own address."""
        a = pod.address
        text = self.manifests.file("tempo.yaml").replace("/var/tempo", str(pod.directory))
        text = ENDPOINT.sub(f"endpoint: {a}:", text)
        text = text.replace("/runtime-config/", f"{pod.directory}/")
        config = yaml.safe_load(text)
        (joined,) = config["memberlist"]["join_members"]
        service = SERVICE.search(joined)[1]
        ring = {"ring": {"instance_id": pod.name, "instance_addr": a}}
        own = {
            "server": {"http_listen_address": a, "grpc_listen_address": a},
            "memberlist": {
                "bind_addr": [a], "advertise_addr": a, "join_members": [f"{p.address}:{self.gossip}" for p in self.of(service)]},
            # In a pod these are the host's name and address.
            "ingester": {"lifecycler": {"id": pod.name, "address": a}}, "querier": {"frontend_worker": {"id": pod.name}},
            "distributor": ring, "compactor": ring, "metrics_generator": ring}
        path = pod.directory / "tempo.yaml"
        path.write_text(yaml.safe_dump(merge(config, own)))
        (pod.directory / "overrides.yaml").write_text(self.manifests.file("overrides.yaml"))
        pod.spawn([tactus_binary(), *(arg.replace("/conf/tempo.yaml", str(path)) for arg in container["args"])])

    def _gateway(self, pod):
        """Starts nginx with the chart's file; names of services are addresses of their pods."""
        nginx = need("nginx")
        text = self.manifests.file("nginx.conf")
        text = SERVICE.sub(lambda match: self.of(match[1])[0].address, text)
        text = re.sub(r"resolver \S+", "resolver 127.0.0.1", text).replace("/tmp/", f"{pod.directory}/")
        self.gateway_http, self.gateway_grpc = free_ports(2)
        text = text.replace("listen 8080", f"listen {pod.address}:{self.gateway_http}")
        text = text.replace("listen 4317", f"listen {pod.address}:{self.gateway_grpc}")
        text = text.replace("/etc/nginx/secrets", str(pod.directory))
        version = subprocess.run([nginx, "-v"], capture_output=True, text=True, timeout=20).stderr
        if tuple(map(int, re.search(r"/(\d+)\.(\d+)", version).groups())) < (1, 25):
            # Older ones cannot speak both versions of HTTP on a port without TLS.
            text = text.replace("http2 on;", "")
        path = pod.directory / "nginx.conf"
        # In a pod it is not root, and its workers are who it is.
        user = f"user {pwd.getpwuid(0).pw_name};\n" if os.getuid() == 0 else ""
        path.write_text(f"daemon off;\n{user}{text}")
        (pod.directory / ".htpasswd").write_text(self.manifests.file(".htpasswd") + "\n")
        pod.spawn([nginx, "-c", str(path), "-e", "stderr", "-p", str(pod.directory)])
        self.gateway = f"http://{pod.address}:{self.gateway_http}"

    def start(self):
        started = time.monotonic()
        for name, pod in self.pods.items():
            if pod.labels["app.kubernetes.io/component"] == "gateway":
                self._gateway(pod)
            else:
                self._tactus(pod, self.containers[name])
        for pod in self.pods.values():
            gateway = pod.labels["app.kubernetes.io/component"] == "gateway"
            pod.await_answer(f"{self.gateway}/" if gateway else f"http://{pod.address}:{self.http}/ready")
        print(f"all pods are ready after {time.monotonic() - started:.1f} s")
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for pod in self.pods.values():
            if kind is not None:
                with contextlib.suppress(OSError):
                    print(f"--- {pod.name}", pod.logs()[-1500:], sep="\n")
            pod.kill()
