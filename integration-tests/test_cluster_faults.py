"""Whatever dies, hangs, fills up or loses its way: no acknowledged span is lost, none is answered twice, and no wrong
answer is unmarked. Three ingesters, replication factor 3.

TACTUS_FAULT_SECONDS: how long a hang, a partition or an outage of storage lasts (3; by hand 60)."""
import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from harness import otlp
from harness.clock import JumpingClock
from harness.cluster import Cluster
from harness.endure import Endured
from harness.fault_proxy import FaultProxy
from harness.load import KINDS, Asker, Failed, Load, Questions, Template, check_all
from harness.netns import Network
from harness.waiting import eventually

SECONDS = float(os.environ.get("TACTUS_FAULT_SECONDS", "3"))
COUNTS = {"ingester": 3, "distributor": 2, "query-frontend": 2, "querier": 2, "compactor": 1}
# What a client may see of a process that dies while it serves it.
DIED = ("RemoteDisconnected", "BrokenPipeError", "ConnectionResetError", "IncompleteRead")


@pytest.fixture(scope="module")
def storage(s3_server):
    """A bucket, and a proxy in front of it that can fail."""
    with FaultProxy(s3_server.port) as proxy:
        yield s3_server.new_bucket(), proxy


@pytest.fixture(scope="module")
def shared(tmp_path_factory, storage):
    bucket, proxy = storage
    quick = {"retry_max_attempts": 3, "retry_backoff_initial": "20ms", "retry_backoff_max": "200ms"}
    cluster = Cluster(
        tmp_path_factory.mktemp("cluster"), counts=COUNTS, storage=bucket.config(proxy.port, **quick),
        config={"ingester": {"flush_op_timeout": "5s"}})
    with cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(shared, storage):
    """The cluster of this file, whole again after the test before."""
    if storage[1].mode != "pass":
        storage[1].set("pass")
    shared.mend()
    seed = random.randrange(2**32)
    print("seed", seed)
    random.seed(seed)
    return shared


def only_died(failures):
    return [what for what in failures if not any(word in what for word in DIED)]


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", list(COUNTS))
def test_kill_of_any_one_process_under_load_costs_nothing(cluster, service):
    with Endured(cluster) as endured:
        for _ in range(2):
            victim = random.choice(cluster.of(service))
            time.sleep(random.uniform(0, 0.5))  # the random instant; no condition can stand for it
            endured.fault()
            victim.kill()
            endured.await_pushes(15)
            unexpected = only_died(endured.push_failures()) if service == "distributor" else endured.push_failures()
            assert not unexpected, unexpected[:3]
            if service != "query-frontend":
                assert not endured.query_failures(), endured.query_failures()[:3]
                assert not endured.partial_answers()
            victim.spawn()
            victim.await_ready()
            endured.recovered(f"kill -9 of {victim.name}")


def test_kill_of_all_ingesters_at_once_and_a_restart_loses_nothing(cluster):
    with Endured(cluster) as endured:
        endured.fault()
        for ingester in cluster.of("ingester"):
            ingester.process.kill()
        for ingester in cluster.of("ingester"):
            ingester.process.wait(20)
        eventually(lambda: endured.push_failures(), "pushes are refused, not acknowledged")
        eventually(lambda: endured.query_failures() or endured.partial_answers(), "answers are partial or errors")
        for ingester in cluster.of("ingester"):
            ingester.spawn()
        for ingester in cluster.of("ingester"):
            ingester.await_ready()
        endured.recovered("kill -9 of all ingesters")


def test_kill_of_everything_at_random_instants_loses_nothing(cluster):
    with Endured(cluster) as endured:
        for _ in range(4):
            victims = random.sample(sorted(cluster.nodes.values(), key=lambda node: node.name), 2)
            if all(victim.target == "ingester" for victim in victims):
                victims.pop()
            time.sleep(random.uniform(0, 0.7))
            endured.fault()
            for victim in victims:
                victim.kill()
            time.sleep(random.uniform(0, 0.7))
            for victim in victims:
                victim.spawn()
            for victim in victims:
                victim.await_ready()
        endured.recovered("four kills of two")


@pytest.mark.parametrize("state", ["PENDING", "UNHEALTHY"], ids=["still reads its disk", "has not started"])
def test_ingester_that_is_late_is_missed_when_everything_starts_anew(tmp_path, s3_server, state):
    single = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    bucket = s3_server.new_bucket()
    counts = {"ingester": 1, "distributor": 1, "query-frontend": 1, "querier": 1}
    with FaultProxy(s3_server.port) as proxy, Cluster(tmp_path, bucket, counts, config=single) as cluster:
        # Before it reads its disk, it asks for its bucket: that is what it waits for here.
        late = cluster.new("ingester", config=bucket.config(proxy.port))
        cluster.start()
        with Load(cluster) as load:
            load.run_until(300)
        for node in cluster.nodes.values():
            node.process.kill()
        for node in cluster.nodes.values():
            node.process.wait()
        proxy.set("stall")
        for node in cluster.nodes.values():
            if node is not late or state == "PENDING":
                node.spawn()
        for node in cluster.nodes.values():
            if node is not late:
                node.await_ready()
        questions, ring = Questions(load), cluster["querier-0"].ring
        eventually(lambda: ring().get("ingester-0") == "ACTIVE", "one ingester is there", 20)
        eventually(lambda: ring().get(late.name) == state, f"the querier knows that the other one is {state}", 20)
        for kind in ("search", "count"):
            assert not questions.ask(kind, load.slices()[0]), f"{kind}: whole without {late.name}"
        assert ring()[late.name] == state
        proxy.set("pass")
        if state != "PENDING":
            late.spawn()
        late.await_ready()
        check_all(load)


# --- hangs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["ingester", "querier", "distributor", "query-frontend"])
def test_hang_of_one_process_is_survived(cluster, service):
    with Endured(cluster) as endured:
        victim = random.choice(cluster.of(service))
        endured.fault()
        victim.freeze()
        time.sleep(SECONDS)  # the fault's length
        if service in ("ingester", "querier"):
            endured.await_pushes(15)
        if service == "ingester":
            assert not endured.push_failures(), endured.push_failures()[:3]
            assert not endured.query_failures(), endured.query_failures()[:3]
        victim.thaw()
        endured.recovered(f"{SECONDS:.0f} s of SIGSTOP of {victim.name}")


def test_ingesters_that_hang_are_not_waited_for_long_though_their_ring_still_counts_on_them(tmp_path, bucket):
    patient = {"ingester": {"lifecycler": {"heartbeat_timeout": "5m", "ring": {"replication_factor": 1, "heartbeat_timeout": "5m"}}},
               "querier": {"search": {"query_timeout": "30s"}, "trace_by_id": {"query_timeout": "30s"}}}
    counts = {"ingester": 2, "distributor": 1, "query-frontend": 1, "querier": 1}
    with Cluster(tmp_path, bucket, counts, config=patient) as cluster:
        cluster.start()
        with Load(cluster) as load:
            load.run_until(300)
        questions = Questions(load, Asker(cluster, timeout=60))
        cluster["ingester-1"].freeze()
        time.sleep(2)  # more than ten rounds of gossip
        for kind in KINDS:
            begun = time.monotonic()
            assert not questions.ask(kind, load.slices()[0]), f"{kind}: whole without ingester-1"
            assert time.monotonic() - begun < 20, kind
        assert cluster["querier-0"].ring()["ingester-1"] == "ACTIVE"
        cluster["ingester-1"].thaw()
        check_all(load)


# --- partition -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_whom", ["everybody", "ingesters and compactor", "distributors"])
def test_partition_of_one_ingester_is_survived(tmp_path, s3_server, from_whom):
    with Network() as network, FaultProxy(s3_server.port, host=network.gateway) as store:
        bucket = s3_server.new_bucket()
        endpoint = bucket.config(endpoint=f"{network.gateway}:{store.port}")
        with Cluster(tmp_path, counts={"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 2},
                     storage=endpoint, network=network) as cluster:
            cluster.start()
            victim = cluster["ingester-1"]
            services = {
                "everybody": ["ingester", "distributor", "querier", "query-frontend"],
                "ingesters and compactor": ["ingester", "compactor"], "distributors": ["distributor"]}[from_whom]
            others = [node.host for service in services for node in cluster.of(service) if node is not victim]
            with Endured(cluster) as endured:
                endured.fault()
                network.cut(victim.host, others)
                endured.await_pushes(20)
                time.sleep(SECONDS)  # the fault's length
                assert not endured.push_failures(), endured.push_failures()[:3]
                assert not endured.query_failures(), endured.query_failures()[:3]
                network.heal()
                endured.recovered(f"a partition of {victim.name} from {from_whom}")
                cluster.await_ring({node.name for node in cluster.of("ingester")})


# --- planned changes -------------------------------------------------------------------------------------------------


def test_rolling_restart_of_every_process_shows_no_error_to_clients(cluster):
    with Endured(cluster) as endured:
        endured.fault()
        for node in list(cluster.nodes.values()):
            assert node.stop(60) == 0, node.logs()[-3000:]
            node.spawn().await_ready()
        endured.recovered("a rolling restart")
        endured.assert_unnoticed()


def test_three_ingesters_become_five_and_three_again(cluster):
    with Endured(cluster) as endured:
        endured.fault()
        added = [cluster.new("ingester") for _ in range(2)]
        for node in added:
            node.spawn()
        cluster.await_ready()
        endured.await_pushes(30)
        for node in added:
            assert node.metric("tempo_ingester_bytes_received_total") > 0, f"{node.name} takes no part"
        for node in [cluster["ingester-0"], added[0]]:
            # Leaves at once: what it holds goes to the bucket before it ends.
            assert requests.get(node.url + "/shutdown", timeout=30).text.strip() == "shutdown job acknowledged"
            assert node.process.wait(60) == 0, node.logs()[-3000:]
            cluster.forget(node)
            cluster.await_ring({one.name for one in cluster.of("ingester")})
        endured.recovered("3 -> 5 -> 3 ingesters")
        endured.assert_unnoticed()


# --- storage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "settings"), [
    ("refuse", {}), ("stall", {}), ("some", {"every": 20, "delay": 0}), ("some", {"every": 10**9, "delay": 0.5}),
], ids=["down", "hangs", "5 percent errors", "slow"])
def test_storage_that_fails_is_survived(cluster, storage, fault, settings):
    with Endured(cluster) as endured:
        endured.fault()
        storage[1].set(fault, **settings)
        cluster.flush_quietly()
        endured.await_pushes(20)
        time.sleep(SECONDS)  # the fault's length
        assert not endured.push_failures(), endured.push_failures()[:3]
        storage[1].set("pass")
        endured.recovered(f"S3: {fault} {settings}")


def test_processes_that_start_without_storage_say_what_they_lack_until_they_have_read_it(tmp_path, s3_server):
    with FaultProxy(s3_server.port) as proxy:
        quick = {"retry_max_attempts": 2, "retry_backoff_initial": "20ms", "retry_backoff_max": "50ms"}
        counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
        with Cluster(tmp_path, counts=counts, storage=s3_server.new_bucket().config(proxy.port, **quick),
                     config={"storage": {"trace": {"blocklist_poll": "10m"}}}) as cluster:
            cluster.start()
            with Load(cluster) as load:
                load.run_until(300)
            cluster.flush()
            # From now on nothing but the bucket has these spans.
            for node in cluster.of("ingester"):
                eventually(lambda node=node: not node.segments(), "segments go", 30)
            proxy.set("refuse")
            for name in ("querier-0", "query-frontend-0"):
                assert cluster[name].stop() == 0
                cluster[name].start()
            questions = Questions(load)
            for kind in KINDS:
                # Wrong is an answer that lacks spans and does not say so.
                with contextlib.suppress(Failed):
                    assert not questions.ask(kind, load.slices()[0]), f"{kind}: whole without storage"
            proxy.set("pass")
            check_all(load, timeout=40)


def test_ingester_that_leaves_while_storage_is_away_is_missed_until_it_is_back(tmp_path, s3_server):
    single = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    with FaultProxy(s3_server.port) as proxy:
        quick = {"retry_max_attempts": 2, "retry_backoff_initial": "20ms", "retry_backoff_max": "50ms"}
        counts = {"ingester": 2, "distributor": 1, "query-frontend": 1, "querier": 1}
        with Cluster(tmp_path, counts=counts, storage=s3_server.new_bucket().config(proxy.port, **quick), config=single) as cluster:
            cluster.start()
            proxy.set("refuse")
            with Load(cluster) as load:
                load.run_until(300)
            leaver = cluster["ingester-0"]
            assert leaver.stop(60) == 0
            assert "spans remain on its disk" in leaver.logs()
            proxy.set("pass")
            questions = Questions(load)
            for kind in ("search", "count"):
                assert not questions.ask(kind, load.slices()[0]), f"{kind}: whole without {leaver.name}"
            leaver.start()
            check_all(load)
            # What left nothing behind is missed by nobody.
            cluster.flush()
            assert leaver.stop(60) == 0
            cluster.await_ring({"ingester-1"})
            check_all(load)


def test_ingester_that_leaves_tells_who_missed_its_blocks_before_it_is_gone(tmp_path, s3_server):
    """The one announcement of a block comes while the query-frontend is frozen, and its next poll is far."""
    config = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}, "storage": {"trace": {"blocklist_poll": "10m"}},
              # A member that is silent for a few seconds is no suspect yet, as by default.
              "memberlist": {"gossip_interval": "1s"}}
    counts = {"ingester": 2, "distributor": 1, "query-frontend": 1, "querier": 1}
    with Cluster(tmp_path, counts=counts, storage=s3_server.new_bucket().config(), config=config) as cluster:
        cluster.start()
        with Load(cluster) as load:
            load.run_until(300)
        leaver, frontend = cluster["ingester-0"], cluster["query-frontend-0"]
        frontend.freeze()
        try:
            leaver.signal(signal.SIGTERM)
            eventually(lambda: "waiting for processes that have not heard of blocks" in leaver.logs(), "it waits", 30)
        finally:
            frontend.thaw()
        assert leaver.process.wait(60) == 0
        cluster.await_ring({"ingester-1"})
        questions = Questions(load)
        for kind in ("search", "count"):
            assert questions.ask(kind, load.slices()[0]), f"{kind}: not whole after {leaver.name} left"


# --- full disk -------------------------------------------------------------------------------------------------------


def test_full_disk_of_one_ingester_is_survived(cluster, tmp_path):
    disk = tmp_path / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small disk needs root: {mounted.stderr.strip()}")
    try:
        node = cluster.add("ingester", config={"storage": {"trace": {"wal": {"path": str(disk / "wal")}}}})
        with Endured(cluster) as endured:
            endured.fault()
            with open(disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))
            eventually(lambda: "disk" in node.logs() or "space" in node.logs(), "the ingester notices")
            endured.await_pushes(30)
            # Of four ingesters one is full: every trace has two others, or three.
            assert not endured.push_failures(), endured.push_failures()[:3]
            (disk / "ballast").unlink()
            endured.recovered("a full disk")
        assert node.stop() == 0
        cluster.forget(node)
        cluster.await_ring({one.name for one in cluster.of("ingester")})
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "skew"), [
    ("ingester", 300), ("ingester", -300), ("distributor", -300), ("querier", -300), ("query-frontend", 300),
    ("query-frontend", -300)])
def test_clock_that_is_five_minutes_off_changes_nothing(cluster, tmp_path, service, skew):
    clock = JumpingClock(tmp_path)
    victim = cluster.of(service)[-1]
    before = dict(victim.env)
    victim.env.update(clock.env)
    assert victim.stop() == 0
    victim.start()
    try:
        with Endured(cluster) as endured:
            endured.fault()
            clock.jump(skew)
            endured.await_pushes(30)
            time.sleep(1)
            assert not endured.push_failures(), endured.push_failures()[:3]
            assert not endured.query_failures(), endured.query_failures()[:3]
            assert not endured.partial_answers()
            cluster.await_ring({node.name for node in cluster.of("ingester")})
            clock.jump(0)
            endured.recovered(f"a clock {skew} s off at {victim.name}")
    finally:
        victim.kill()
        victim.env = before


# --- too much --------------------------------------------------------------------------------------------------------


def test_distributor_flooded_with_ten_times_its_limit_stays_small_and_says_when_to_retry(cluster):
    limit = 100_000
    node = cluster.new("distributor", config={"overrides": {"defaults": {"ingestion": {
        "rate_limit_bytes": limit, "burst_size_bytes": limit}}}})
    node.start()
    peers = cluster.of("ingester")
    before = {peer.name: peer.resident_bytes() for peer in peers}
    body = Template(10, 20, padding=200)
    statuses, hints, lock = {}, set(), threading.Lock()
    sent = [0]

    def flood(until):
        session = requests.Session()
        while time.monotonic() < until:
            data, _ = body.fill([os.urandom(16) for _ in range(10)], time.time_ns())
            response = session.post(
                node.otlp_url + "/v1/traces", data=data, headers={"Content-Type": "application/x-protobuf"}, timeout=30)
            with lock:
                sent[0] += len(data)
                statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
                if response.status_code != 200:
                    hints.add(response.headers.get("Retry-After"))

    # Other clients, at other distributors, do not notice.
    with Endured(cluster) as endured:
        endured.fault()
        began = time.monotonic()
        threads = [threading.Thread(target=flood, args=(began + 4,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = time.monotonic() - began
        print(f"flood: {sent[0] / spent / limit:.1f} times the limit, {statuses}, peak {node.peak_resident_bytes() >> 20} MiB")
        assert sent[0] / spent > 10 * limit, "not a flood"
        assert statuses.keys() == {200, 429}, statuses
        assert None not in hints and all(int(hint) >= 1 for hint in hints), hints
        assert node.peak_resident_bytes() < 300 << 20
        for peer in peers:
            assert peer.resident_bytes() < before[peer.name] + (200 << 20)
        assert node.metric("tempo_discarded_spans_total") > 0
        endured.load.balancer.nodes = lambda: [one for one in cluster.of("distributor") if one is not node]
        endured.recovered("a flood")
    assert node.stop() == 0
    cluster.forget(node)


def test_two_thousand_idle_connections_hurt_nobody(cluster):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("too few file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    node, frontend = cluster.of("distributor")[0], cluster.of("query-frontend")[0]
    before = {one.name: one.resident_bytes() for one in (node, frontend)}
    idle = []
    try:
        for number in range(2000):
            place = [(node.address, node.otlp_http_port), (node.address, node.otlp_grpc_port),
                     (frontend.address, frontend.http_port), (frontend.address, frontend.grpc_port)][number % 4]
            idle.append(socket.create_connection(place, timeout=10))
        with Endured(cluster) as endured:
            endured.fault()
            endured.await_pushes(20)
            assert not endured.push_failures() and not endured.query_failures()
            endured.recovered("2 000 idle connections")
        for one in (node, frontend):
            assert one.resident_bytes() < before[one.name] + (150 << 20), f"{one.name}: {one.resident_bytes() >> 20} MiB"
            assert one.ready()
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- afterwards ------------------------------------------------------------------------------------------------------


def test_everything_of_the_tests_before_is_still_answered_once(cluster):
    """From merged blocks, and by a cluster that has nothing else: its ingesters begin with empty disks."""
    if not cluster.endured:
        pytest.skip("no test before this one left anything")
    for load in cluster.endured:
        check_all(load, by_id=5)
    for ingester in cluster.of("ingester"):
        requests.get(ingester.url + "/shutdown", timeout=30)
        assert ingester.process.wait(60) == 0
        shutil.rmtree(ingester.wal)
        ingester.start()
    for load in cluster.endured:
        check_all(load, by_id=5)
    eventually(lambda: cluster["compactor-0"].metric("tempodb_compaction_blocks_total") > 0, "blocks are merged")
