"""A cluster as its operator and its clients know it: ring pages, readiness, joining and leaving, tenants."""
import random
import re
import shutil
import signal
import time

import grpc
import pytest
import requests
import yaml

from harness import answers, otlp
from harness.cluster import Cluster
from harness.endure import Endured
from harness.load import Asker, Load, check_all
from harness.paths import REPOSITORY
from harness.ports import free_ports
from harness.protobuf import varint
from harness.server import merge
from harness.waiting import eventually

TENANTS = {"multitenancy_enabled": True}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, s3_server):
    """A cluster with tenants."""
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 2, "querier": 2, "compactor": 1}
    with Cluster(tmp_path_factory.mktemp("cluster"), s3_server.new_bucket(), counts, config=TENANTS) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(shared):
    shared.mend()
    return shared


# --- start -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [
    ["compactor", "querier", "query-frontend", "distributor", "ingester"],
    ["distributor", "ingester", "query-frontend", "querier", "compactor"],
], ids=["ingesters last", "distributor first"])
def test_processes_start_in_any_order(tmp_path, bucket, order):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 2, "querier": 1, "compactor": 1}
    with Cluster(tmp_path, bucket, counts, names_frontends=order[0] == "compactor") as cluster:
        cluster.start(order)
        with Load(cluster) as load:
            load.run_until(200)
        assert not load.failures()
        check_all(load)


def test_wrong_members_to_join_are_named_until_one_is_found(tmp_path, bucket):
    (nobody,) = free_ports(1)
    with Cluster(tmp_path, bucket, {"distributor": 2}) as cluster:
        first, second = cluster.of("distributor")
        for wrong, said in (("no-such-host.invalid:7946", "none of memberlist.join_members has an address"),
                            (f"127.0.0.1:{nobody}", "nobody answers at memberlist.join_members")):
            cluster.seeds = lambda wrong=wrong: [wrong]
            first.start()
            logs = first.logs().rpartition("gossip started")[2]
            (line,) = [line for line in logs.splitlines() if "this process is alone" in line]
            assert "level=warn" in line and said in line and wrong.split(":")[0] in line, line
            assert "cluster joined" not in logs
            first.kill()
        first.start()
        cluster.seeds = lambda: [f"{first.address}:{first.gossip_port}"]
        second.start()
        for node in (first, second):
            eventually(lambda node=node: "cluster joined" in node.logs(), f"{node.name} says that it joined", 10)


# --- pages -----------------------------------------------------------------------------------------------------------


def test_ring_pages_show_every_member(cluster):
    ingesters = {node.name: node for node in cluster.of("ingester")}
    for service in ("distributor", "ingester", "querier"):
        node = cluster.of(service)[0]
        shards = node.get("/ingester/ring").json()["shards"]
        assert {shard["id"] for shard in shards} == set(ingesters)
        for shard in shards:
            assert shard["state"] == "ACTIVE"
            assert shard["address"] == f"{ingesters[shard['id']].address}:{node.grpc_port}"
            assert len(set(shard["tokens"])) == 128 and shard["tokens"] == sorted(shard["tokens"])
        page = node.get("/ingester/ring", accept="text/html")
        assert page.headers["Content-Type"].startswith("text/html")
        for name in ingesters:
            assert name in page.text
        assert re.search("forget", page.text, re.IGNORECASE)
        assert node.get("/memberlist", accept="text/html").status_code == 200
        eventually(lambda node=node: all(other in node.get("/memberlist", accept="text/html").text for other in cluster.nodes),
                   f"{node.name} shows every member")
    assert set(cluster.of("compactor")[0].ring("compactor")) == {"compactor-0"}
    for node in cluster.nodes.values():
        eventually(lambda node=node: node.metric("tempo_memberlist_client_cluster_members_count") == len(cluster.nodes),
                   f"{node.name} counts every member")
    distributor = cluster.of("distributor")[0]
    eventually(lambda: distributor.metrics().get('tempo_ring_members{name="ingester",state="ACTIVE"}') == 3, "ring metrics")


def test_dead_member_is_unhealthy_until_it_is_forgotten_or_back(cluster):
    victim, distributor = cluster["ingester-2"], cluster.of("distributor")[0]
    victim.kill()
    eventually(lambda: distributor.ring()["ingester-2"] == "UNHEALTHY", "the dead one is unhealthy")
    page = distributor.session.post(distributor.url + "/ingester/ring", data={"forget": "ingester-2"}, allow_redirects=False)
    assert page.status_code == 302
    for node in [distributor, *cluster.of("querier"), cluster["ingester-0"]]:
        eventually(lambda node=node: set(node.ring()) == {"ingester-0", "ingester-1"}, f"{node.name} has forgotten it")
    victim.spawn().await_ready()
    cluster.await_ring({"ingester-0", "ingester-1", "ingester-2"})


def test_readiness_says_why_not(tmp_path, bucket):
    with Cluster(tmp_path, bucket, {"query-frontend": 1, "querier": 1, "ingester": 2}) as cluster:
        frontend, querier, first, second = cluster["query-frontend-0"], cluster["querier-0"], cluster["ingester-0"], cluster["ingester-1"]
        frontend.spawn()
        wanted = "Query Frontend not ready: not ready: number of queriers connected to query-frontend is 0\n"
        eventually(lambda: (frontend.get("/ready").status_code, frontend.get("/ready").text) == (503, wanted), "not ready")
        querier.spawn()
        frontend.await_ready()
        querier.kill()
        eventually(lambda: frontend.get("/ready").text == wanted, "not ready again")
        first.start()
        eventually(lambda: "ingester-0" in frontend.ring(), "the news of the first ingester are out")
        first.kill()
        second.config["ingester"]["lifecycler"]["min_ready_duration"] = "6s"
        second.spawn()
        said = set()

        def ready():
            response = second.get("/ready")
            said.add(response.text)
            return response.status_code == 200 or (first.is_running() is False and "ingester-0" in response.text)

        eventually(ready, "a word about the dead member")
        assert any("ingester-0" in text and text.startswith("Ingester not ready: ") for text in said), said
        first.spawn()
        second.await_ready()


def test_process_that_stops_is_not_ready_and_ends_with_zero(tmp_path, bucket):
    with Cluster(tmp_path, bucket, {"ingester": 1, "distributor": 1, "query-frontend": 1, "querier": 1, "compactor": 1},
                 config={"shutdown_delay": "2s", "ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}) as cluster:
        cluster.start()
        for node in cluster.nodes.values():
            node.signal(signal.SIGTERM)
        for node in cluster.nodes.values():
            eventually(lambda node=node: node.get("/ready").text == "Application is stopping\n", f"{node.name} says so")
            assert node.get("/ready").status_code == 503
        for node in cluster.nodes.values():
            assert node.process.wait(40) == 0, (node.name, node.logs()[-2000:])


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_ingester_that_leaves_and_comes_back_is_not_missed(cluster):
    with Endured(cluster, tenant="team-a") as endured:
        endured.fault()
        leaver = cluster["ingester-1"]
        assert requests.get(leaver.url + "/shutdown", timeout=30).text.strip() == "shutdown job acknowledged"
        assert leaver.process.wait(60) == 0, leaver.logs()[-3000:]
        cluster.await_ring({"ingester-0", "ingester-2"})
        endured.recovered("/shutdown of an ingester")
        leaver.spawn().await_ready()
        cluster.await_ring({"ingester-0", "ingester-1", "ingester-2"})
        endured.recovered("its return")
        endured.assert_unnoticed()


@pytest.mark.parametrize("way", ["/shutdown", "prepare-downscale and SIGTERM", "SIGTERM with flush_all_on_shutdown"])
def test_ingester_that_leaves_for_good_hands_over_without_a_gap(tmp_path, bucket, way):
    """No other has a copy of what it holds, and its disk is gone afterwards: all of it must be in the bucket."""
    config = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    if "flush_all" in way:
        config["ingester"]["flush_all_on_shutdown"] = True
    with Cluster(tmp_path, bucket, {"ingester": 2, "distributor": 1, "query-frontend": 1, "querier": 1}, config=config) as cluster:
        cluster.start()
        leaver = cluster["ingester-1"]
        with Endured(cluster) as endured:
            endured.fault()
            if way == "/shutdown":
                assert requests.get(leaver.url + "/shutdown", timeout=30).text.strip() == "shutdown job acknowledged"
            else:
                if "prepare" in way:
                    assert requests.post(leaver.url + "/ingester/prepare-downscale", timeout=10).status_code == 204
                leaver.signal(signal.SIGTERM)
            assert leaver.process.wait(60) == 0, leaver.logs()[-3000:]
            endured.mark("ended")
            shutil.rmtree(leaver.wal)
            cluster.forget(leaver)
            cluster.await_ring({"ingester-0"})
            endured.recovered(way)
            assert not endured.query_failures() and not endured.partial_answers()
            if "prepare" in way:  # else writes of what it had wait for the end of its flush
                endured.assert_unnoticed()


def test_flush_writes_blocks_of_every_tenant(cluster):
    pushed = {}
    for tenant in ("flush-a", "flush-b"):
        spans = otlp.trace(3)
        response = requests.post(
            cluster.of("distributor")[0].otlp_url + "/v1/traces", data=otlp.export(*spans).SerializeToString(),
            headers={"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant}, timeout=20)
        assert response.status_code == 200, response.text
        pushed[tenant] = spans[0].trace_id.hex()
    for node in cluster.of("ingester"):
        assert node.get("/flush", tenant="nobody").status_code == 404
    cluster.flush()
    for tenant, trace_id in pushed.items():
        other = next(one for one in pushed if one != tenant)
        asker = Asker(cluster, tenant)
        assert len(asker.trace(trace_id)[0]) == 3
        assert asker.trace(pushed[other])[0] == [], "a tenant sees what is another's"
        both = Asker(cluster, f"{tenant}|{other}")
        assert len(both.trace(pushed[other])[0]) == 3


def test_prepared_downscale_takes_no_writes_and_can_be_taken_back(cluster):
    node = cluster.new("ingester")
    node.start()
    cluster.await_ring({one.name for one in cluster.of("ingester")})
    partition = node.url + "/ingester/prepare-partition-downscale"
    assert {requests.request(method, partition, timeout=10).status_code for method in ("GET", "POST", "DELETE")} == {405}
    url = node.url + "/ingester/prepare-downscale"
    assert requests.get(url, timeout=10).text == "unset\n"
    assert requests.post(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).text == "set\n"
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).text == "unset\n"
    assert requests.post(url, timeout=10).status_code == 204
    with Endured(cluster, tenant="team-a") as endured:
        endured.fault()
        before = node.metric("tempo_ingester_bytes_received_total")
        endured.await_pushes(20)
        assert node.metric("tempo_ingester_bytes_received_total") == before, "it is written to"
        assert node.stop() == 0
        cluster.forget(node)
        cluster.await_ring({one.name for one in cluster.of("ingester")})
        endured.recovered("a downscale")
        endured.assert_unnoticed()


# --- queries ---------------------------------------------------------------------------------------------------------


def test_two_tenants_are_kept_apart_everywhere(cluster):
    with Load(cluster, tenant="team-a") as one, Load(cluster, tenant="team-b") as other:
        one.run_until(200)
        other.run_until(200)
    for load, foreign in ((one, "team-b"), (other, "team-a")):
        check_all(load, by_id=20)
        asker = Asker(cluster, foreign)
        number = load.slices()[0]
        trace_id = next(iter(load.acknowledged[number]))
        assert asker.trace(trace_id) == ([], False)
        window = {"start": int(load.begun) - 60, "end": int(time.time()) + 60}
        assert asker.search(f'{{ resource.run = "{load.name}" }}', window) == ({}, False)
        assert asker.counted(f'{{ resource.run = "{load.name}" }}', window) == (0, False)
    response = requests.get(cluster.of("query-frontend")[0].url + "/api/search", params={"q": "{}"}, timeout=10)
    assert response.status_code == 401
    refused = requests.post(
        cluster.of("distributor")[0].otlp_url + "/v1/traces", data=otlp.export(otlp.span()).SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"}, timeout=10)
    assert refused.status_code == 401, refused.text


def test_queriers_and_frontends_that_come_and_go_disturb_no_query(cluster):
    with Endured(cluster, tenant="team-a") as endured:
        endured.fault()
        for name in ("querier-0", "query-frontend-0", "querier-1", "query-frontend-1"):
            node = cluster[name]
            assert node.stop() == 0
            node.spawn().await_ready()
            endured.prober.await_right(time.time(), count=3)
        assert not endured.query_failures(), endured.query_failures()[:3]
        killed = cluster["querier-0"]
        killed.kill()
        endured.prober.await_right(time.time(), count=6)
        assert not endured.query_failures(), endured.query_failures()[:3]
        killed.spawn().await_ready()


def test_streaming_search_works_through_the_cluster(cluster):
    with Load(cluster, tenant="team-a") as load:
        load.run_until(200)
    query, now = f'{{ resource.run = "{load.name}" }}'.encode(), int(time.time())
    # tempopb.SearchRequest: Limit 4, start 5, end 6, Query 8.
    request = b"\x20" + varint(1000) + b"\x28" + varint(now - 600) + b"\x30" + varint(now + 60) + b"\x42" + varint(len(query)) + query
    wanted = {trace for number in load.slices() for trace in load.snapshot(load.acknowledged, number)}
    for frontend in cluster.of("query-frontend"):
        with grpc.insecure_channel(f"{frontend.address}:{frontend.grpc_port}") as channel:
            call = channel.unary_stream("/tempopb.StreamingQuerier/Search")
            said = b"".join(call(request, timeout=20, metadata=[("x-scope-orgid", "team-a")]))
        missing = [trace for trace in wanted if trace.lstrip("0").encode() not in said]
        assert not missing, f"{len(missing)} of {len(wanted)} are missing"


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_whole_zone_may_die(tmp_path, bucket):
    zones = {"ingester": {"lifecycler": {"ring": {"zone_awareness_enabled": True}}}}
    with Cluster(tmp_path, bucket, {"distributor": 1, "query-frontend": 1, "querier": 1}, config=zones) as cluster:
        for number in range(6):
            cluster.new("ingester", config={"ingester": {"lifecycler": {"availability_zone": f"zone-{number % 3}"}}})
        cluster.start()
        with Endured(cluster) as endured:
            endured.fault()
            dead = [cluster["ingester-1"], cluster["ingester-4"]]
            for node in dead:
                node.process.kill()
            endured.await_pushes(30)
            endured.prober.await_right(time.time(), count=6)
            assert not endured.push_failures(), endured.push_failures()[:3]
            assert not endured.query_failures() and not endured.partial_answers()
            for node in dead:
                node.process.wait(20)
                node.spawn()
            for node in dead:
                node.await_ready()
            endured.recovered("the loss of a zone")


def test_ingesters_warn_of_a_frontend_that_does_not_know_of_copies(tmp_path, bucket):
    single = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    with Cluster(tmp_path, bucket, {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}) as cluster:
        unaware = cluster.new("query-frontend", config=single)
        cluster.start()
        cluster["distributor-0"].must_push(otlp.export(*otlp.trace(3)))
        window = {"q": "{ } | count_over_time()", "start": int(time.time()) - 600, "end": int(time.time()) + 60}
        warning = "set ingester.lifecycler.ring.replication_factor in its configuration"
        ingesters = [node for name, node in cluster.nodes.items() if name.startswith("ingester")]

        def warned(frontend):
            assert frontend.get("/api/metrics/query", **window).status_code == 200
            return any(warning in node.logs() for node in ingesters)

        assert not warned(cluster["query-frontend-0"])
        eventually(lambda: warned(unaware), "the log says what to do")


def test_without_copies_a_dead_ingester_makes_answers_partial_and_writes_go_elsewhere(tmp_path, bucket):
    single = {"ingester": {"lifecycler": {"ring": {"replication_factor": 1}}}}
    with Cluster(tmp_path, bucket, {"ingester": 2, "distributor": 1, "query-frontend": 1, "querier": 1}, config=single) as cluster:
        cluster.start()
        with Endured(cluster) as endured:
            endured.fault()
            cluster["ingester-0"].kill()
            eventually(endured.partial_answers, "answers are marked")
            cluster.await_unhealthy("ingester-0")
            unhealthy = time.time()
            endured.await_pushes(20)
            assert not endured.load.failures(unhealthy + 1), endured.load.failures(unhealthy + 1)[:3]
            endured.mark("start")
            cluster["ingester-0"].spawn().await_ready()
            endured.recovered("kill -9 of one of two, without copies")


# --- clustered `all` -------------------------------------------------------------------------------------------------


@pytest.fixture
def alike(tmp_path, bucket):
    """Three identical processes with every part each."""
    with Cluster(tmp_path, bucket, {"all": 3}) as cluster:
        cluster.start()
        yield cluster


def test_three_identical_processes_are_one_cluster(alike):
    names = {"all-0", "all-1", "all-2"}
    alike.await_ring(names)
    with Load(alike) as load:
        load.run_until(400)
    assert not load.failures()
    for node in alike.nodes.values():
        assert node.metric("tempo_ingester_bytes_received_total") > 0
        # Any process serves any query.
        asker = Asker(alike)
        for number in load.slices():
            found, partial = asker.search(
                f'{{ resource.run = "{load.name}" && resource.slice = {number} }}',
                {"start": int(load.begun) - 60, "end": int(time.time()) + 60}, node)
            assert not partial and found.keys() == load.sent[number].keys()
    check_all(load)


def test_identical_processes_survive_kill_and_rolling_restart(alike):
    with Endured(alike) as endured:
        victim = random.choice(list(alike.nodes.values()))
        victim.kill()
        endured.await_pushes(20)
        victim.spawn().await_ready()
        endured.recovered("kill -9 of one of three")
        endured.fault()
        for node in alike.nodes.values():
            assert node.stop() == 0, node.logs()[-3000:]
            node.spawn().await_ready()
        endured.recovered("a rolling restart")
        endured.assert_unnoticed()


def test_example_of_the_manual_forms_a_cluster(tmp_path, bucket):
    """The first configuration of docs/operations/cluster.md; only addresses, the bucket and the time of a start are ours."""
    page = (REPOSITORY / "docs/operations/cluster.md").read_text()
    example = yaml.safe_load(re.search(r"^```yaml\n(# tactus.yaml.*?)^```$", page, re.MULTILINE | re.DOTALL)[1])
    with Cluster(tmp_path, bucket, {"all": 3}) as cluster:
        seeds = [f"{node.address}:{node.gossip_port}" for node in cluster.nodes.values()]
        for node in cluster.nodes.values():
            own = {key: node.config[key] for key in ("target", "server", "storage")}
            own["storage"]["trace"].pop("local", None)
            example["memberlist"]["join_members"] = seeds
            node.config = merge(merge(example, own), {
                "memberlist": {key: node.config["memberlist"][key] for key in (
                    "node_name", "bind_addr", "bind_port", "advertise_addr", "advertise_port")},
                "distributor": {"receivers": node.config["distributor"]["receivers"]},
                "ingester": {"lifecycler": {"id": node.name, "address": node.address, "min_ready_duration": "0s"}},
            })
        cluster.start()
        with Load(cluster) as load:
            load.run_until(200)
        assert not load.failures()
        check_all(load, by_id=20)


def test_metrics_that_the_manual_names_exist(shared):
    pages = ["README", "cluster", "failures", "runbook", "scaling", "sizing"]
    # Rules are asked of a Prometheus, where every service and cache is: test_self_monitoring.py.
    named = {name for page in pages for name in re.findall(
        r"\b(?:tempo|tempodb|tactus)_[a-z_]+",
        re.sub(r"```promql\n.*?```", "", (REPOSITORY / f"docs/operations/{page}.md").read_text(), flags=re.DOTALL))}
    shared.mend()
    # Some appear with the first event only.
    for node in shared.of("distributor"):
        requests.post(
            node.otlp_url + "/v1/traces", data=otlp.export(otlp.span(bytes(16))).SerializeToString(), timeout=10,
            headers={"Content-Type": "application/x-protobuf", "X-Scope-OrgID": "team-a"})
    with Load(shared, tenant="team-a") as load:
        load.run_until(100)
    check_all(load, by_id=1)
    shared.flush()
    named.discard("tempo_cache_dropped_background_writes_total")  # only where caches are configured
    named.discard("tempo_runtime_config_last_reload_successful")  # only with a file of overrides
    named = {name for name in named if not name.startswith("tactus_check_")}  # of tactusctl check, see test_checker.py

    def missing():
        known = set()
        for node in shared.nodes.values():
            known |= set(re.findall(r"^# TYPE (\w+)", node.get("/metrics", accept="text/plain").text, re.MULTILINE))
        known |= {f"{name}_{suffix}" for name in known for suffix in ("bucket", "sum", "count")}
        return sorted(named - known)

    def none_is_missing():
        assert not missing()
        return True

    eventually(none_is_missing, "every metric")


# --- recent data and blocks ------------------------------------------------------------------------------------------


def test_what_a_query_reads_in_blocks_ingesters_do_not_look_at_again(tmp_path, bucket):
    counts = {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}
    held = {"trace_idle_period": "10m", "trace_live_period": "10m", "max_block_duration": "20m", "complete_block_timeout": "30m"}
    with Cluster(tmp_path, bucket, counts, config={"ingester": held}) as cluster:
        cluster.start()
        distributor, frontend = cluster["distributor-0"], cluster["query-frontend-0"]
        window = {"start": int(time.time()) - 600, "end": int(time.time()) + 600}

        def ask(query):
            """Matched spans by trace, and what the ingesters say of their part."""
            answer = frontend.get("/api/search", q=query, limit=1000, spss=100, explain="true", **window).json()
            recent = [job for job in answer["explain"]["jobs"] if job["source"] == "recent"]
            found = {trace["traceID"].rjust(32, "0"): trace["spanSets"][0]["matched"] for trace in answer["traces"]}
            return found, sum(job["inspectedSpans"] for job in recent), [job["pruned"] for job in recent]

        def inspected(path):
            answer = frontend.get(path, **window).json()
            return answer, int(answer["metrics"].get("inspectedBytes", 0))

        def store():
            """Flushes until the ingesters have nothing to add: a third copy may still have been on its way."""
            def is_stored():
                cluster.flush()
                return ask("{ }")[1] == 0
            eventually(is_stored, "everything is in blocks")

        traces = [otlp.trace(5, attributes={"n": number}) for number in range(20)]
        for spans in traces:
            distributor.must_push(otlp.export(*spans))
        everything = {spans[0].trace_id.hex(): 5 for spans in traces}
        assert ask("{ }")[0] == everything

        def is_looked_at_once():
            live, spans, pruned = ask("{ }")
            return live == everything and spans == 100 and sum(set(reasons) == {"at another ingester"} for reasons in pruned) == 2

        eventually(is_looked_at_once, "of three ingesters that have the same one looks at it")
        tags, values = "/api/v2/search/tags", "/api/v2/search/tag/span.n/values"
        live_bytes = {path: inspected(path)[1] for path in (tags, values)}
        live_answers = {path: inspected(path)[0] for path in (tags, values)}
        store()
        stored, spans, pruned = ask("{ }")
        assert (stored, spans) == (everything, 0)
        assert all(set(reasons) == {"in a block of the query"} for reasons in pruned), pruned
        assert len(pruned) == 3
        assert ask('{ name = "root" } >> { span.n = 7 }')[0] == {traces[7][0].trace_id.hex(): 4}
        for path in (tags, values):
            answer, stored_bytes = inspected(path)
            assert answer["metrics"]["totalBlocks"] == 3
            del answer["metrics"], live_answers[path]["metrics"]
            assert answer == live_answers[path], path
            assert stored_bytes < live_bytes[path], "of three ingesters each counted all of its spans"

        # More of a trace comes when the rest of it is in blocks: what is asked of the whole trace is found at once, and later.
        root = traces[3][0]
        trace_id = root.trace_id.hex()
        late = otlp.span(root.trace_id, parent_span_id=root.span_id, name="late")
        distributor.must_push(otlp.export(late))
        for query, matched in [('{ name = "root" } > { name = "late" }', 1), ("{ } | count() > 5", 6)]:
            found, spans, _ = ask(query)
            assert found == {trace_id: matched}, query
            assert spans <= 3 * 6, "what is new, with the rest of its trace, at each ingester"
        store()
        for query, matched in [('{ name = "root" } > { name = "late" }', 1), ("{ } | count() > 5", 6)]:
            assert ask(query)[0] == {trace_id: matched}, query
        assert ask("{ }")[0] == everything | {trace_id: 6}

        def trace(**mode):
            """Spans of a trace, and the bytes that were read for it."""
            answer = frontend.get(f"/api/v2/traces/{traces[7][0].trace_id.hex()}", **mode)
            assert answer.status_code == 200, answer.text
            return len(answers.spans(answer.json().get("trace", {}))), int(answer.json()["metrics"].get("inspectedBytes", 0))

        trace()  # reads the filters
        assert trace() == trace(mode="blocks")
        assert trace(mode="ingesters")[0] == 5
        # What blocks have lost, ingesters may still have.
        for key in bucket.keys():
            if key.endswith("data.parquet"):
                bucket.put(key, bytes(len(bucket.get(key))))
        assert trace()[0] == 5
        assert trace(mode="blocks")[0] == 0


def test_ingester_with_the_instance_id_of_another_is_not_ready(tmp_path, bucket):
    with Cluster(tmp_path, bucket, {"all": 2}) as cluster:
        cluster.start()
        first, second = cluster.nodes.values()
        second.stop()
        second.config = merge(second.config, {"ingester": {"lifecycler": {"id": first.name}}})
        second.start()

        def is_told():
            answer = requests.get(second.url + "/ready", timeout=10)
            return answer.status_code == 503 and "has the same instance id" in answer.text
        eventually(is_told, "it says why", 90)
        first.stop()
        eventually(lambda: requests.get(second.url + "/ready", timeout=10).status_code == 200, "it is ready without the other", 90)
