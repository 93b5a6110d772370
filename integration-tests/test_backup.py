"""What docs/operations/backup.md promises of copies of a bucket and of what can be undone."""
import json
import shutil
import subprocess
import threading

from harness import otlp
from harness.cluster import Cluster
from harness.load import Load, check_all
from harness.waiting import eventually
from test_tactusctl import binary

KEEP = {"compactor": {"compaction": {"block_retention": "8760h"}}}


def verify(path):
    """`tactusctl verify --deep` of a store: its exit code and what it found."""
    done = subprocess.run(
        [binary(), "--json", "--path", path, "verify", "--deep"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.returncode, json.loads(done.stdout)


def copy(source, target):
    """One pass of a copying tool: files that are not there yet. What goes meanwhile is left out."""
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_file() and not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, to)
            except FileNotFoundError:
                continue


def test_copy_of_a_store_that_is_written_to_is_sound_and_has_every_earlier_trace(servers, tmp_path):
    server = servers.start(config=KEEP)
    before = [otlp.push_trace(server) for _ in range(5)]
    server.flush()
    stop, later = threading.Event(), []

    def go_on():
        while not stop.is_set():
            later.append(otlp.push_trace(server))
            server.flush()

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        eventually(lambda: len(later) > 2, "writes during the copy")
        backup = tmp_path / "backup"
        copy(server.blocks, backup)
        copy(server.blocks, backup)
    finally:
        stop.set()
        writer.join()
    code, found = verify(backup)
    assert code == 0, found
    restored = servers.start("restored", config={
        "compactor": {"disabled": True}, "storage": {"trace": {"local": {"path": str(backup)}}}})
    for trace_id in before:
        assert restored.trace(trace_id), trace_id


def test_blocks_that_retention_marked_by_mistake_come_back_by_their_meta(servers):
    mistake = {"compactor": {"compaction": {
        "block_retention": "1s", "compaction_cycle": "200ms", "compacted_block_retention": "1h"}}}
    server = servers.start(config=mistake)
    trace_id = otlp.push_trace(server)
    server.flush()
    marked = eventually(lambda: sorted(server.blocks.glob("*/*/meta.compacted.json")), "a marked block")
    server.stop()
    for meta in marked:
        meta.rename(meta.with_name("meta.json"))
    again = servers.start("again", config={
        "compactor": {"disabled": True}, "storage": {"trace": {"local": {"path": str(server.blocks)}}}})
    assert again.trace(trace_id)


def test_disk_of_one_ingester_of_three_costs_no_span(tmp_path, bucket):
    with Cluster(tmp_path, bucket, {"ingester": 3, "distributor": 1, "query-frontend": 1, "querier": 1}) as cluster:
        cluster.start()
        with Load(cluster) as load:
            load.run_until(50)
        lost = cluster["ingester-1"]
        lost.kill()
        shutil.rmtree(lost.wal)
        lost.spawn().await_ready()
        check_all(load, by_id=10)
