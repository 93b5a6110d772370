"""The compactor where its clock, or that of the store, is wrong: nothing is deleted too early, and jobs come to their end."""
import datetime
import time

from harness import otlp
from harness.clock import JumpingClock
from harness.server import merge
from harness.waiting import eventually
from test_compaction import COMPACT, NO_MERGES, metas, post_job, push_blocks, with_blocks
from test_durability import check_by_id


def test_clock_that_jumps_ahead_of_the_store_lets_nothing_expire(servers, bucket, tmp_path):
    clock = JumpingClock(tmp_path)
    server = servers.start(env=clock.env, config=merge(merge(COMPACT, bucket.config()), {
        "overrides": {"defaults": {"compaction": {"retention_policies": [
            {"query": "{ status = error }", "retention": "2160h"}]}}}}))
    trace_id = otlp.push_trace(server)
    server.flush()
    clock.jump(20 * 86400)
    eventually(lambda: server.logs().count("ahead of object storage") >= 4, "some rounds")
    assert len(server.trace(trace_id)) == 3
    assert server.metric("tactus_compactor_expired_traces_total") == 0
    assert server.metric("tempodb_retention_marked_for_deletion_total") == 0


def test_clock_that_is_set_ahead_on_a_machine_with_blocks_on_its_disk_lets_nothing_expire(servers, tmp_path):
    """Nobody else knows what time it is."""
    clock = JumpingClock(tmp_path)
    server, pushed = with_blocks(servers, 3, env=clock.env)
    server.config = merge(server.config, COMPACT)
    server.start()
    eventually(lambda: len(metas(server)) == 1, "one block")

    def rounds_without_expiry():
        return server.logs().count("for a day nothing expires")

    clock.jump(20 * 86400)
    eventually(lambda: rounds_without_expiry() >= 4, "some rounds")
    pushed.update(push_blocks(server, 2))
    assert server.metric("tempodb_retention_marked_for_deletion_total") == 0
    check_by_id(server, pushed)
    # The round in which it is seen to be set back is the last of them.
    clock.jump(0)
    time.sleep(2)
    known = rounds_without_expiry()
    time.sleep(2)
    assert rounds_without_expiry() == known
    assert server.metric("tempodb_retention_marked_for_deletion_total") == 0
    check_by_id(server, pushed)


def test_job_of_a_process_whose_clock_is_behind_is_watched_for_as_long_as_any(servers, bucket, tmp_path):
    """Its age counts by the store's clock: by its own it would be a day old when the clock is mended."""
    clock = JumpingClock(tmp_path)
    clock.jump(-86_400)
    watched = {"compactor": {"jobs": {"api_enabled": True, "watch_period": "1h"}}}
    server = servers.start(env=clock.env, config=merge(merge(COMPACT, bucket.config()), merge(NO_MERGES, watched)))
    trace_id = otlp.push_trace(server)
    server.flush()
    made = post_job(server, deleteTraces=[trace_id])
    assert made.status_code == 202, made.text
    age = time.time() - datetime.datetime.fromisoformat(made.json()["createdAt"]).timestamp()
    assert abs(age) < 600, made.json()
    clock.jump(0)
    eventually(lambda: server.trace(trace_id) is None, "the trace is gone")

    def status():
        return server.get(f"/api/jobs/{made.json()['id']}").json()["status"]
    eventually(lambda: status() == "watching", "the block is written again")
    time.sleep(3)
    assert status() == "watching", "spans of before it may still come"
