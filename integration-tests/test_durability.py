"""Nothing acknowledged is lost: kill -9 under load, SIGTERM, restarts."""
import random
import threading
import time

import pytest
import requests

from harness import otlp
from harness.server import merge
from harness.waiting import eventually

# Everything happens often: cuts to segments, merges to blocks, uploads, polls. So that kills hit all of them.
FAST = {
    "ingester": {
        "trace_idle_period": "100ms", "trace_live_period": "300ms", "flush_check_period": "50ms",
        "max_block_duration": "700ms", "complete_block_timeout": "1s",
    },
    "storage": {"trace": {"blocklist_poll": "500ms"}},
}


class Load(threading.Thread):
    """Pushes traces of one round until the server is gone; remembers what was sent and what was acknowledged."""

    def __init__(self, server, number, over_grpc):
        super().__init__(daemon=True)
        self.server, self.number, self.over_grpc = server, number, over_grpc
        self.sent, self.acknowledged = {}, {}

    def request(self):
        resource = {"round": self.number, "padding": "p" * 200}
        spans = [span for _ in range(4) for span in otlp.trace(3, attributes={"n": random.random()})]
        return otlp.export(*spans, service="load", resource=resource)

    def run(self):
        session = requests.Session()
        exporter = otlp.GrpcExporter(self.server.otlp_grpc_port)
        try:
            while True:
                request = self.request()
                self.sent.update(otlp.ids(request))
                if self.over_grpc:
                    exporter.export(request, timeout=10)
                else:
                    response = session.post(
                        self.server.otlp_url + "/v1/traces", data=request.SerializeToString(),
                        headers={"Content-Type": "application/x-protobuf"}, timeout=10)
                    if response.status_code != 200:
                        continue
                self.acknowledged.update(otlp.ids(request))
        except Exception:  # noqa: BLE001  the server was killed: the end of this round
            exporter.channel.close()
            session.close()


def check_round(server, number, sent, acknowledged):
    """Every acknowledged span is there once, and nothing that was not sent."""
    found = server.search(f"{{ resource.round = {number} }}", limit=100_000)
    missing = [t for t in acknowledged if t not in found]
    assert not missing, f"round {number}: {len(missing)} of {len(acknowledged)} acknowledged traces are lost: {missing[:3]}"
    assert not found.keys() - sent.keys()
    wrong = {t: found[t] for t in acknowledged if found[t] != len(acknowledged[t])}
    assert not wrong, f"round {number}: wrong number of spans in search: {dict(list(wrong.items())[:3])}"


def check_by_id(server, traces):
    for trace_id, span_ids in traces.items():
        found = sorted(span_id for span_id, _ in server.trace(trace_id) or [])
        assert found == sorted(span_ids), f"trace {trace_id}"


@pytest.mark.parametrize(("storage", "kills"), [("local", 20), ("s3", 5)])
def test_kill_at_random_instants_under_load_loses_and_repeats_nothing(servers, bucket, storage, kills):
    seed = random.randrange(2**32)
    print("seed", seed)
    instants = random.Random(seed)
    server = servers.start(config=merge(FAST, bucket.config() if storage == "s3" else {}))
    rounds = []
    for number in range(kills):
        loads = [Load(server, number, over_grpc=i % 2 == 1) for i in range(3)]
        for load in loads:
            load.start()
        eventually(lambda: all(load.acknowledged for load in loads), "every client was served", 30)
        time.sleep(instants.uniform(0.0, 1.2))  # the random instant; no condition can stand for it
        server.kill()
        for load in loads:
            load.join(30)
        sent = {k: v for load in loads for k, v in load.sent.items()}
        acknowledged = {k: v for load in loads for k, v in load.acknowledged.items()}
        rounds.append((sent, acknowledged))
        server.start()
        check_round(server, number, sent, acknowledged)
        check_by_id(server, dict(instants.sample(sorted(acknowledged.items()), min(40, len(acknowledged)))))
    # All rounds once more, after what the restarts did to them, and again from blocks alone.
    for _ in range(2):
        for number, (sent, acknowledged) in enumerate(rounds):
            check_round(server, number, sent, acknowledged)
            check_by_id(server, dict(instants.sample(sorted(acknowledged.items()), min(10, len(acknowledged)))))
        server.flush()
    assert sum(len(acknowledged) for _, acknowledged in rounds) > 50 * kills, "hardly any load"


def test_kill_during_start_loses_nothing(servers):
    server = servers.start()
    trace_ids = [otlp.push_trace(server) for _ in range(200)]
    server.kill()
    for delay in (0.0, 0.01, 0.03, 0.1, 0.3):
        server.spawn()
        time.sleep(delay)
        server.kill()
    server.start()
    assert server.search("{}", limit=1000) == dict.fromkeys(trace_ids, 3)


@pytest.mark.parametrize("cut", [False, True])
def test_kill_right_after_the_acknowledgement_keeps_the_span(servers, cut):
    server = servers.start(config=FAST if cut else {"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}})
    trace_id = otlp.push_trace(server)
    server.kill()
    server.start()
    assert len(server.trace(trace_id)) == 3
    assert server.search('{ name = "root" }') == {trace_id: 1}


def test_sigterm_writes_everything_to_storage(servers):
    server = servers.start(config={"ingester": {"flush_all_on_shutdown": True}})
    trace_ids = [otlp.push_trace(server) for _ in range(20)]
    assert server.stop() == 0
    assert len(server.block_directories()) >= 1
    for files in map(lambda block: {f.name for f in block.iterdir()}, server.block_directories()):
        assert {"data.parquet", "meta.json", "index", "bloom-0"} <= files
    # Another server that has only the blocks knows every span.
    other = servers.start("other", config={"storage": {"trace": {"local": {"path": str(server.blocks)}}}})
    eventually(lambda: other.search("{}") == dict.fromkeys(trace_ids, 3), "all traces from the blocks")
    for trace_id in trace_ids:
        assert len(other.trace(trace_id)) == 3


@pytest.mark.parametrize("way", ["/shutdown", "SIGTERM with flush_all_on_shutdown"])
def test_end_that_flushes_all_waits_for_the_store_and_tells_what_it_could_not_write(servers, way):
    server = servers.start(config={"ingester": {"flush_all_on_shutdown": way != "/shutdown", "flush_op_timeout": "3s"}})
    trace_ids = [otlp.push_trace(server) for _ in range(5)]
    away = server.directory / "away"

    def end(comes_back):
        failed = server.logs().count("trying again before the end")
        server.blocks.rename(away)
        server.blocks.write_text("in the way")
        if way == "/shutdown":
            assert server.get("/shutdown").text.strip() == "shutdown job acknowledged"
        else:
            server.process.terminate()
        if comes_back:
            eventually(lambda: server.logs().count("trying again before the end") > failed, "a failed attempt")
            server.blocks.unlink()
            away.rename(server.blocks)
        return server.process.wait(60)

    assert end(comes_back=False) == 1
    assert "not all spans are in object storage: they stay on this disk" in server.logs()
    server.blocks.unlink()
    away.rename(server.blocks)
    server.start()
    assert server.search("{}") == dict.fromkeys(trace_ids, 3), "they are on the disk"
    assert not server.block_directories()
    assert end(comes_back=True) == 0
    assert server.block_directories()


def test_sigterm_under_load_loses_nothing_acknowledged(servers):
    server = servers.start(config=FAST)
    loads = [Load(server, 0, over_grpc=i % 2 == 1) for i in range(3)]
    for load in loads:
        load.start()
    eventually(lambda: all(len(load.acknowledged) > 40 for load in loads), "load")
    assert server.stop() == 0
    for load in loads:
        load.join(30)
    server.start()
    check_round(
        server, 0, {k: v for load in loads for k, v in load.sent.items()},
        {k: v for load in loads for k, v in load.acknowledged.items()})


def test_flush_writes_a_block_and_answers_stay_the_same(servers):
    server = servers.start()
    trace_ids = [otlp.push_trace(server) for _ in range(10)]
    before = server.search("{}")
    assert before == dict.fromkeys(trace_ids, 3)
    server.flush()
    eventually(server.block_directories, "a block")
    for _ in range(20):  # while the block is found and the segments go
        assert server.search("{}") == before
        assert len(server.trace(trace_ids[0])) == 3
    assert server.get("/flush", tenant="nobody").status_code == 404


def test_spans_of_one_trace_are_found_together_wherever_they_are(servers):
    server = servers.start(config={"ingester": {"trace_idle_period": "1h", "trace_live_period": "1h"}})
    trace = otlp.trace(4)
    trace_id = trace[0].trace_id.hex()
    for number, span in enumerate(trace):
        server.must_push(otlp.export(span))
        assert len(server.trace(trace_id)) == number + 1
        if number == 0:
            server.flush()  # to a block
        elif number == 1:
            server.kill()  # to a segment
            server.start()
    server.must_push(otlp.export(trace[0]))  # again: once in the answer
    assert len(server.trace(trace_id)) == 4
    assert server.search("{}") == {trace_id: 4}
