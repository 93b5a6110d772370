"""A cluster of real processes: one a service and replica, each with an address of its own.

On loopback every node has its own 127.x.y.z and all have the same ports. On a `Network` (netns.py) every node is a
machine of its own, and links can be cut."""
import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import signal
import time

import requests
import yaml

from .paths import tactus_binary
from .ports import free_ports
from .server import Tactus, merge
from .waiting import GiveUp, eventually

SERVICES = ("ingester", "distributor", "querier", "query-frontend", "compactor", "metrics-generator")
# Everything that a cluster waits for happens often.
HEARTBEAT, HEARTBEAT_TIMEOUT = "200ms", "2s"
FAST = {
    "shutdown_delay": "300ms",
    "memberlist": {
        "gossip_interval": "100ms", "pull_push_interval": "500ms", "min_join_backoff": "100ms",
        "max_join_backoff": "500ms", "rejoin_interval": "1s", "leave_timeout": "2s", "packet_dial_timeout": "1s",
    },
    "distributor": {"ring": {
        "kvstore": {"store": "memberlist"}, "heartbeat_period": HEARTBEAT, "heartbeat_timeout": HEARTBEAT_TIMEOUT}},
    "ingester": {
        "lifecycler": {
            "ring": {"kvstore": {"store": "memberlist"}, "heartbeat_timeout": HEARTBEAT_TIMEOUT, "replication_factor": 3},
            "heartbeat_period": HEARTBEAT, "heartbeat_timeout": HEARTBEAT_TIMEOUT, "min_ready_duration": "0s",
        },
        "trace_idle_period": "300ms", "trace_live_period": "1s", "flush_check_period": "200ms",
        "max_block_duration": "4s", "complete_block_timeout": "6s",
    },
    "metrics_generator": {"ring": {
        "kvstore": {"store": "memberlist"}, "heartbeat_period": HEARTBEAT, "heartbeat_timeout": HEARTBEAT_TIMEOUT}},
    "ingester_client": {"remote_timeout": "2s", "grpc_client_config": {"connect_timeout": "1s"}},
    "querier": {
        "frontend_worker": {"dns_lookup_duration": "500ms"},
        "search": {"query_timeout": "10s"}, "trace_by_id": {"query_timeout": "10s"},
    },
    # As operators leave it: clocks that are off must not matter.
    "storage": {"trace": {"wal": {"ingestion_time_range_slack": "2m"}}},
    "compactor": {
        "ring": {
            "kvstore": {"store": "memberlist"}, "heartbeat_period": HEARTBEAT, "heartbeat_timeout": HEARTBEAT_TIMEOUT,
            "wait_stability_min_duration": "0s", "wait_stability_max_duration": "1s"},
        "compaction": {"compaction_cycle": "2s", "compacted_block_retention": "10s"},
    },
}


class Node(Tactus):
    """One process of a cluster."""

    def __init__(self, cluster, target, name, address, prefix=(), config=None, env=None):
        self.cluster, self.target, self.name, self.address, self.prefix = cluster, target, name, address, list(prefix)
        super().__init__(cluster.directory / name, env=env)
        self.http_port, self.grpc_port, self.gossip_port, self.otlp_http_port, self.otlp_grpc_port = cluster.ports
        self.config = merge(merge(self._own(), cluster.config), config or {})
        self.session.headers.update(cluster.headers)

    def _own(self):
        """What is this node's alone: addresses, names and directories."""
        a = self.address
        ring = {"instance_id": self.name, "instance_addr": a}
        return merge(merge(self._defaults(), FAST), {
            "target": self.target,
            "server": {"http_listen_address": a, "grpc_listen_address": a},
            "memberlist": {
                "node_name": self.name, "randomize_node_name": False, "bind_addr": [a], "bind_port": self.gossip_port,
                "advertise_addr": a, "advertise_port": self.gossip_port},
            "distributor": {
                "ring": ring,
                "receivers": {"otlp": {"protocols": {
                    "http": {"endpoint": f"{a}:{self.otlp_http_port}"}, "grpc": {"endpoint": f"{a}:{self.otlp_grpc_port}"}}}}},
            "ingester": {"lifecycler": {
                "id": self.name, "address": a, "tokens_file_path": str(self.directory / "tokens")}},
            "compactor": {"ring": ring},
            "metrics_generator": {"ring": ring},
            "querier": {"frontend_worker": {"id": self.name}},
        })

    @property
    def url(self):
        return f"http://{self.address}:{self.http_port}"

    @property
    def otlp_url(self):
        return f"http://{self.address}:{self.otlp_http_port}"

    def command(self):
        joined = {"memberlist": {"join_members": self.cluster.seeds()}}
        if self.target == "querier" and self.cluster.names_frontends:
            joined["querier"] = {"frontend_worker": {"frontend_address": self.cluster.frontend_addresses()}}
        path = self.directory / "tactus.yaml"
        path.write_text(yaml.safe_dump(merge(joined, self.config), sort_keys=False))
        return [*self.prefix, *program(self.target), f"-config.file={path}", *self.arguments]

    def ready(self, timeout=2):
        try:
            return requests.get(self.url + "/ready", timeout=timeout).status_code == 200
        except requests.RequestException:
            return False

    def await_ready(self, timeout=60):
        def condition():
            if self.process.poll() is not None:
                raise GiveUp(f"{self.name} exited with {self.process.returncode}:\n{self.logs()[-4000:]}")
            return self.ready()

        try:
            eventually(condition, f"{self.name} is ready", timeout)
        except AssertionError as error:
            said = ""
            if self.is_running():
                try:
                    said = requests.get(self.url + "/ready", timeout=2).text
                except requests.RequestException as refused:
                    said = repr(refused)
            raise AssertionError(f"{error}; /ready says {said!r}; its log ends:\n{self.logs()[-3000:]}") from None
        return self

    def start(self, timeout=60):
        self.spawn()
        return self.await_ready(timeout)

    def signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def ring(self, name="ingester"):
        """Members of a ring as this node sees them: id -> state, or Unhealthy."""
        shards = self.get(f"/{name}/ring", timeout=5).json()["shards"]
        return {shard["id"]: shard["state"] for shard in shards}


def program(target):
    """The service's own binary where all of them are built, else `tactus -target=`; TACTUS_CLUSTER=one|each decides."""
    directory = pathlib.Path(tactus_binary()).parent
    wanted = os.environ.get("TACTUS_CLUSTER")
    each = wanted == "each" or wanted is None and all((directory / f"tactus-{s}").is_file() for s in SERVICES)
    if each and target in SERVICES:
        return [str(directory / f"tactus-{target}")]
    return [tactus_binary(), f"-target={target}"]


class Cluster:
    """Processes that find each other. `counts` says how many of each target; a target is a service, or `all`.

    `names_frontends`: queriers are told the addresses of the query-frontends; else they know them by gossip."""

    def __init__(self, directory, bucket=None, counts=None, config=None, network=None, env=None, storage=None,
                 names_frontends=False, headers=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.counts = counts or {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 2, "compactor": 1}
        self.network, self.env, self.names_frontends = network, env or {}, names_frontends
        self.config = merge(storage or bucket.config(), config or {})
        self.ports = free_ports(5)
        self.net = f"127.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        self.headers = headers or {}  # of everything that is sent and asked
        self.nodes, self.gone, self.addresses = {}, [], 1
        self.endured = []  # loads of tests that ended well
        for target, count in self.counts.items():
            for _ in range(count):
                self.new(target)

    # --- who is there --------------------------------------------------------------------------------------------

    def new(self, target, name=None, config=None, env=None):
        """One more node, not yet started."""
        taken = [n for n in [*self.nodes.values(), *self.gone] if n.target == target]
        name = name or f"{target}-{len(taken)}"
        if self.network:
            host = self.network.host()
            address, prefix = host.address, host.prefix
        else:
            host, (address, prefix) = None, (f"{self.net}.{self.addresses}", ())
            self.addresses += 1
        node = Node(self, target, name, address, prefix, config, {**self.env, **(env or {})})
        node.host = host
        self.nodes[name] = node
        return node

    def of(self, target):
        """Nodes that do the work of a service."""
        return [node for node in self.nodes.values() if node.target in (target, "all")]

    def __getitem__(self, name):
        return self.nodes[name]

    def seeds(self):
        """Gossip addresses that everybody joins by: the first of each service."""
        firsts = {}
        for node in self.nodes.values():
            firsts.setdefault(node.target, []).append(node)
        return [f"{node.address}:{node.gossip_port}" for nodes in firsts.values() for node in nodes[:2]]

    def frontend_addresses(self):
        return ",".join(f"{node.address}:{node.grpc_port}" for node in self.of("query-frontend"))

    # --- all of it -----------------------------------------------------------------------------------------------

    def start(self, order=None, timeout=90):
        """Starts every node at once, or in the order of these targets, and waits until all are ready."""
        for target in order or [None]:
            for node in self.nodes.values():
                if target in (None, node.target):
                    node.spawn()
        self.await_ready(timeout)
        return self

    def await_ready(self, timeout=90):
        """All nodes that should run are ready, and every distributor and querier sees all ingesters."""
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda node: node.await_ready(timeout), self.nodes.values()))
        self.await_ring({node.name for node in self.of("ingester")})

    def await_ring(self, names, timeout=60):
        """Everybody who has a page of the ingester ring sees exactly these members, all ACTIVE."""
        wanted = dict.fromkeys(names, "ACTIVE")
        for node in [*self.of("distributor"), *self.of("querier")]:
            if node.is_running():
                eventually(lambda node=node: node.ring() == wanted, f"{node.name} sees {sorted(names)}", timeout)

    def await_unhealthy(self, name, timeout=30):
        """Every distributor and querier that runs has noticed that this ingester is silent."""
        for node in [*self.of("distributor"), *self.of("querier")]:
            if node.is_running() and node.name != name:
                eventually(lambda node=node: node.ring().get(name) != "ACTIVE", f"{node.name} misses {name}", timeout)

    def mend(self):
        """What the test before left: frozen nodes go on, dead ones start again."""
        if self.network:
            self.network.heal()
        for node in self.nodes.values():
            if node.is_running():
                node.thaw()
            else:
                node.spawn()
        self.await_ready()

    def add(self, target, **kwargs):
        return self.new(target, **kwargs).start()

    def forget(self, node):
        """Takes a node that was stopped from the list of those that should run."""
        self.gone.append(self.nodes.pop(node.name))

    def flush(self):
        for node in self.of("ingester"):
            node.flush()

    def flush_quietly(self):
        """Asks for a flush whatever the answer: storage may be away."""
        for node in self.of("ingester"):
            with contextlib.suppress(requests.RequestException):
                node.get("/flush", timeout=3)

    def close(self):
        """Ends every process, and fails if one panicked."""
        everyone = [*self.nodes.values(), *self.gone]
        for node in everyone:
            if node.is_running():
                node.thaw()
                node.kill()
        panics = [
            f"{node.name}: {line}" for node in everyone
            for line in re.findall(r"^.*panicked at.*(?:\n.*)?", node.logs(), re.MULTILINE)]
        assert not panics, panics[:3]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            try:
                self.close()
            except AssertionError as error:
                print(error)

    def tails(self, lines=15):
        """The last warnings and errors of every log, for a failure's report."""
        for node in [*self.nodes.values(), *self.gone]:
            bad = [line for line in node.logs().splitlines() if re.search(r"level=(warn|error)|panicked", line)]
            print(f"--- {node.name} ({'up' if node.is_running() else 'down'})", *bad[-lines:], sep="\n")


class Balancer:
    """What stands before replicas in a real cluster: gives the addresses of those that are ready.

    A node that does not answer /ready is left out until it does; the check runs all the time, as that of an orchestrator does."""

    def __init__(self, nodes, interval=0.1):
        self.nodes, self.interval = nodes, interval
        self._ready, self._checked, self._turn = [], 0.0, 0

    def pick(self):
        """Ready nodes, the one whose turn it is first."""
        now = time.monotonic()
        if now - self._checked > self.interval or not self._ready:
            self._ready = [node for node in self.nodes() if node.is_running() and node.ready(0.5)]
            self._checked = time.monotonic()
        self._turn += 1
        ready = self._ready
        return [ready[(self._turn + i) % len(ready)] for i in range(len(ready))] if ready else []

