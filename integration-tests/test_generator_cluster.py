"""Metrics generators of a cluster, and distributors whose generator is slow or away."""
import re
import time

from harness.cluster import Cluster
from harness.generator import call, generator, push_calls
from harness.waiting import eventually


def test_cluster_keeps_traces_together_and_survives_the_loss_of_a_generator(tmp_path, bucket, receiver):
    config = generator(tmp_path, [receiver.write_url])
    # Each has its own directory.
    config["metrics_generator"]["storage"]["path"] = "./generator"
    counts = {"ingester": 1, "distributor": 2, "metrics-generator": 2}
    config["ingester"] = {"lifecycler": {"ring": {"replication_factor": 1}}}
    cluster = Cluster(tmp_path / "cluster", bucket, counts, config=config)
    try:
        cluster.start()
        generators = cluster.of("metrics-generator")
        distributor, second = distributors = cluster.of("distributor")
        active = {node.name: "ACTIVE" for node in generators}
        for node in distributors:
            eventually(lambda node=node: node.ring("metrics-generator") == active, "both are in the ring")
        # The two sides of a call come by different distributors, the called one first every other time.
        for number in range(60):
            halves = list(zip(distributors, call()))
            for node, request in halves[::-1] if number % 2 else halves:
                assert node.push(request).status_code == 200
        total = {"client": "shop", "server": "bank"}
        eventually(lambda: sum(node.metric("tempo_metrics_generator_spans_received_total") for node in generators) == 180, "all spans")
        received = [node.metric("tempo_metrics_generator_spans_received_total") for node in generators]
        assert min(received) > 0, received
        # Every pair met; both generators have the host's name here, so that their pages tell them apart.
        def edges(node):
            lines = [line for line in node.get("/metrics/generated").text.splitlines()
                     if line.startswith("traces_service_graph_request_total{") and all(f'{k}="{v}"' in line for k, v in total.items())]
            return sum(float(re.split(r"\} ", line)[1].split(" ")[0]) for line in lines)

        eventually(lambda: sum(map(edges, generators)) == 60, "every call met its other side", 30)
        lost = generators[0]
        lost.kill()
        eventually(lambda: distributor.ring("metrics-generator").get(lost.name) != "ACTIVE", "the loss is noticed", 30)
        before = edges(generators[1])

        def all_arrive():
            seen = edges(generators[1])
            push_calls(second, 5)
            return eventually(lambda: edges(generators[1]) == seen + 5, "calls after the loss", 3)

        eventually(all_arrive, "the other one takes over", 40)
        assert edges(generators[1]) > before
        assert lost.start().metric("tempo_metrics_generator_spans_received_total") == 0
    finally:
        cluster.close()


def test_generator_that_is_away_costs_the_client_nothing(tmp_path, bucket):
    config = generator(tmp_path)
    config["ingester"] = {"lifecycler": {"ring": {"replication_factor": 1}}}
    cluster = Cluster(tmp_path / "cluster", bucket, {"ingester": 1, "distributor": 1}, config=config)
    try:
        cluster.start()
        distributor = cluster.of("distributor")[0]
        started = time.monotonic()
        push_calls(distributor, 20)
        assert time.monotonic() - started < 10
        eventually(lambda: distributor.metric("tempo_distributor_forwarder_pushes_failures_total") == 40, "what is lost is counted")
        assert "failed to forward request to metrics generator" in distributor.logs()
    finally:
        cluster.close()


def test_generator_that_hangs_slows_no_client_and_what_it_misses_is_counted(tmp_path, bucket):
    config = generator(tmp_path, limits={"forwarder": {"queue_size": 5, "workers": 1}})
    config["metrics_generator"]["storage"]["path"] = "./generator"
    config["metrics_generator_client"] = {"remote_timeout": "2s"}
    config["ingester"] = {"lifecycler": {"ring": {"replication_factor": 1}}}
    # It stays in the ring while it hangs.
    config["metrics_generator"]["ring"] = {"heartbeat_timeout": "1m"}
    counts = {"ingester": 1, "distributor": 1, "metrics-generator": 1}
    cluster = Cluster(tmp_path / "cluster", bucket, counts, config=config)
    try:
        cluster.start()
        (distributor,), (hanging,) = cluster.of("distributor"), cluster.of("metrics-generator")
        eventually(lambda: distributor.ring("metrics-generator") == {hanging.name: "ACTIVE"}, "the generator is in the ring")
        push_calls(distributor, 5)
        eventually(lambda: hanging.metric("tempo_metrics_generator_spans_received_total") == 15, "the first spans")
        hanging.freeze()
        times = []
        for _ in range(50):
            for request in call():
                started = time.monotonic()
                assert distributor.push(request).status_code == 200
                times.append(time.monotonic() - started)
        assert sorted(times)[-3] < 1, sorted(times)[-5:]
        refused = "tempo_distributor_queue_pushes_failures_total"
        eventually(lambda: distributor.metric(refused) > 50, "a full queue is counted")
        assert "failed to push data to queue: queue is full" in distributor.logs()
        eventually(lambda: distributor.metric("tempo_distributor_metrics_generator_pushes_failures_total") > 0, "as is no answer", 60)
        hanging.thaw()
        before = hanging.metric("tempo_metrics_generator_spans_received_total")

        def counts_again():
            push_calls(distributor, 1)
            return hanging.metric("tempo_metrics_generator_spans_received_total") > before + 20

        eventually(counts_again, "it counts again", 40)
        assert distributor.metric("tempo_distributor_spans_received_total") >= 3 * 55
    finally:
        cluster.close()
