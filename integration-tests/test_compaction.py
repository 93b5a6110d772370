"""The compactor: blocks become one, nothing is lost and nothing answered twice; damage and rivals are lived with."""
import json
import random
import shutil
import time

import pytest
import requests

from harness import otlp
from harness.server import merge
from harness.waiting import eventually
from test_durability import Load, check_by_id, check_round
from test_tempo_blocks import put_sample_block

# Merges at once, and what was merged is deleted soon.
COMPACT = {
    "compactor": {"compaction": {
        "compaction_cycle": "100ms", "compacted_block_retention": "1s", "max_time_per_tenant": "10s",
    }},
    "storage": {"trace": {"blocklist_poll": "500ms"}},
}
REST = {"compactor": {"disabled": True}}
# Retention and jobs, but no merges.
NO_MERGES = {"overrides": {"defaults": {"compaction": {"compaction_disabled": True}}}}
FAST = {"ingester": {
    "trace_idle_period": "100ms", "trace_live_period": "300ms", "flush_check_period": "50ms",
    "max_block_duration": "700ms", "complete_block_timeout": "1s",
}}


def metas(server):
    """Metas of the live blocks in local storage."""
    return [json.loads((block / "meta.json").read_text()) for block in server.block_directories()]


def push_blocks(server, count, traces=3):
    """Blocks with a few traces each; trace id -> span ids."""
    pushed = {}
    for _ in range(count):
        for _ in range(traces):
            request = otlp.export(*otlp.trace(3))
            server.must_push(request)
            pushed.update(otlp.ids(request))
        server.flush()
    return pushed


def with_blocks(servers, count, config=None, **kwargs):
    """A stopped server with blocks that nobody merged yet, and what they hold."""
    server = servers.start(config=merge(REST, config or {}), **kwargs)
    pushed = push_blocks(server, count)
    assert len(server.block_directories()) == count
    server.stop()
    del server.config["compactor"]
    return server, pushed


def counted(server):
    """Spans of the last hour as a metrics query counts them."""
    now = int(time.time())
    response = server.get("/api/metrics/query", q="{} | count_over_time()", start=now - 3600, end=now + 60)
    assert response.status_code == 200, response.text
    return sum(float(series.get("value", 0)) for series in response.json()["series"])


def test_blocks_become_one_and_every_span_is_found_once(servers):
    server, pushed = with_blocks(servers, 5)
    server.config = merge(server.config, COMPACT)
    server.start()
    eventually(lambda: len(metas(server)) == 1, "one block")
    (meta,) = metas(server)
    assert (meta["compactionLevel"], meta["totalObjects"]) == (1, 15)
    assert len(meta["tactus"]["sources"]) == 5
    assert server.search("{}") == dict.fromkeys(pushed, 3)
    check_by_id(server, pushed)
    assert counted(server) == 45
    assert server.metric('tempodb_compaction_blocks_total{level="1"}') == 5
    eventually(lambda: server.metric("tempodb_compaction_outstanding_blocks") == 0, "no backlog")
    # What was merged is deleted in the end, but for the files beside the blocks.
    tenant = server.blocks / "single-tenant"
    eventually(lambda: len([p for p in tenant.iterdir() if p.is_dir()]) == 1, "replaced blocks are deleted")
    server.restart()
    assert server.search("{}") == dict.fromkeys(pushed, 3)


def test_spans_that_stand_in_two_blocks_are_merged_into_one(servers):
    server = servers.start(config=REST)
    request = otlp.export(*otlp.trace(3))
    for _ in range(3):
        server.must_push(request)
        server.flush()
    assert [meta["totalObjects"] for meta in metas(server)] == [1, 1, 1]
    assert counted(server) == 3
    server.stop()
    server.config = merge(server.config, merge({"compactor": {"disabled": False}}, COMPACT))
    server.start()
    eventually(lambda: [meta["compactionLevel"] for meta in metas(server)] == [1], "one block")
    assert metas(server)[0]["totalObjects"] == 1
    check_by_id(server, otlp.ids(request))
    assert server.metric("tempodb_compaction_spans_combined_total") == 6


@pytest.mark.parametrize(("storage", "kills"), [("local", 12), ("s3", 4)])
def test_kill_at_random_instants_while_merging_loses_and_repeats_nothing(servers, bucket, storage, kills):
    seed = random.randrange(2**32)
    print("seed", seed)
    instants = random.Random(seed)
    config = merge(merge(FAST, COMPACT), bucket.config() if storage == "s3" else {})
    server = servers.start(config=config)
    rounds = []
    for number in range(kills):
        load = Load(server, number, over_grpc=number % 2 == 0)
        load.start()
        time.sleep(instants.uniform(0.3, 2.0))
        server.kill()
        load.join(30)
        server.start()
        rounds.append(load)
    server.flush()
    for load in rounds:
        check_round(server, load.number, load.sent, load.acknowledged)
        query = f"{{ resource.round = {load.number} }} | count_over_time()"
        now = int(time.time())
        answer = server.get("/api/metrics/query", q=query, start=now - 3600, end=now + 60).json()
        spans = sum(float(series["value"]) for series in answer["series"])
        assert sum(map(len, load.acknowledged.values())) <= spans <= sum(map(len, load.sent.values())), (seed, load.number)
    check_by_id(server, dict(list(rounds[-1].acknowledged.items())[:20]))
    # All that was killed may have left a single block: two more must be merged, whatever was left.
    push_blocks(server, 2)
    eventually(lambda: server.metric("tempodb_compaction_blocks_total") > 0, "it goes on merging")
    assert server.metric("tempodb_compaction_errors_total") == 0


def test_blocks_are_kept_until_the_one_they_became_is_whole(servers):
    server, pushed = with_blocks(servers, 2)
    blocks = server.block_directories()
    kept = server.blocks.parent / "kept"
    shutil.copytree(server.blocks, kept)
    server.config = merge(server.config, COMPACT)
    server.start()
    eventually(lambda: len(metas(server)) == 1, "the blocks are merged")
    (merged,) = server.block_directories()
    server.stop()
    # As a restored backup may be: the sources are there, and of what they became only the meta.
    for path in merged.iterdir():
        if path.name != "meta.json":
            path.unlink()
    for block in blocks:
        shutil.rmtree(block, ignore_errors=True)
        shutil.copytree(kept / block.parent.name / block.name, block)
    for index in merged.parent.glob("index.*"):
        index.unlink()
    server.start()
    eventually(lambda: [meta["blockID"] for meta in metas(server)] == [merged.name] and (merged / "data.parquet").exists(),
               "they are merged again", 30)
    eventually(lambda: server.search("{}") == dict.fromkeys(pushed, 3), "every span is found", 30)
    assert "lacks a file" in server.logs()


def test_two_compactors_that_both_own_everything_lose_and_repeat_nothing(servers, bucket):
    writer = servers.start(config=merge(REST, bucket.config()))
    pushed = push_blocks(writer, 8)
    rivals = [servers.start(name, config=merge(COMPACT, bucket.config())) for name in ("one", "two")]
    more = push_blocks(writer, 4)
    pushed.update(more)

    def merged():
        backlog = sum(server.metric("tempodb_compaction_outstanding_blocks") for server in rivals)
        return backlog == 0 and len(bucket.blocks()) < 6
    eventually(merged, "everything is merged", 60)
    for server in [*rivals, writer]:
        eventually(lambda server=server: server.search("{}") == dict.fromkeys(pushed, 3), "all traces")
        eventually(lambda server=server: counted(server) == 3 * len(pushed), "each span counts once")
        check_by_id(server, dict(list(pushed.items())[:5]))


def test_retention_by_age_deletes_blocks(servers):
    server = servers.start(config=merge(COMPACT, {"compactor": {"compaction": {"block_retention": "4s"}}}))
    old = otlp.push_trace(server)
    server.flush()
    eventually(lambda: server.search("{}") == {}, "the trace is gone")
    assert server.trace(old) is None
    eventually(lambda: not list(server.blocks.glob("*/*/data.parquet")), "its block is deleted")
    assert server.metric("tempodb_retention_marked_for_deletion_total") >= 1
    eventually(lambda: server.metric("tempodb_retention_deleted_total") >= 1, "its deletion is counted")


def test_retention_of_one_tenant_comes_from_the_overrides_file_and_is_read_again(servers, tmp_path):
    overrides = tmp_path / "overrides.yaml"
    overrides.write_text("overrides: {}\n")
    server = servers.start(config=merge(COMPACT, {
        "multitenancy_enabled": True,
        "overrides": {"per_tenant_override_config": str(overrides), "per_tenant_override_period": "200ms"}}))
    for tenant in ["brief", "long"]:
        request = otlp.export(*otlp.trace(3))
        assert server.push(request, headers={"X-Scope-OrgID": tenant}).status_code == 200
    server.flush()

    def live():
        return sorted(block.parent.name for block in server.block_directories())
    eventually(lambda: live() == ["brief", "long"], "both blocks")
    overrides.write_text("overrides:\n  brief: {compaction: {block_retention: 2s, compaction_disabled: true}}\n")
    eventually(lambda: live() == ["long"], "one tenant's block is out of use")
    # A file that is refused changes nothing.
    overrides.write_text("overrides:\n  long:\n    compaction:\n      retention_policies: [{query: '{', retention: 1s}]\n")
    eventually(lambda: "refused" in server.logs(), "a line in the log")
    assert live() == ["long"]


def test_retention_by_size_deletes_the_oldest_blocks(servers):
    server, pushed = with_blocks(servers, 4)
    sizes = [meta["size"] for meta in metas(server)]
    limit = sum(sizes) - min(sizes) - 1
    server.config = merge(server.config, merge(COMPACT, {
        "overrides": {"defaults": {"compaction": {"compaction_disabled": True, "max_bytes": limit}}}}))
    oldest = min(metas(server), key=lambda meta: (meta["endTime"], meta["blockID"]))["endTime"]
    server.start()
    eventually(lambda: len(metas(server)) < 4, "blocks go")
    left = metas(server)
    assert 1 <= len(left) and sum(meta["size"] for meta in left) <= limit
    assert all(meta["endTime"] >= oldest for meta in left)
    # For two polls they may still be read.
    eventually(lambda: set(server.search("{}")) < set(pushed), "their traces are gone")


def test_policy_keeps_some_traces_longer_than_the_rest(servers):
    server = servers.start(config=REST)
    failed = otlp.trace(3)
    failed[1].status.code = 2
    plain = otlp.trace(3)
    for spans in (failed, plain):
        server.must_push(otlp.export(*spans))
    server.flush()
    server.stop()
    del server.config["compactor"]
    server.config = merge(server.config, merge(COMPACT, {
        "compactor": {"compaction": {"block_retention": "3s"}},
        "overrides": {"defaults": {"compaction": {"retention_policies": [
            {"query": "{ status = error }", "retention": "90d"}]}}}}))
    # Policies judge by the last full hour: spans of before that show it at once.
    server.start()
    old = time.time_ns() - 90 * 60 * 10**9
    aged_failed, aged_plain = otlp.trace(3, start=old), otlp.trace(3, start=old)
    aged_failed[0].status.code = 2
    server.must_push(otlp.export(*aged_failed, *aged_plain))
    server.flush()
    keep, gone = aged_failed[0].trace_id.hex(), aged_plain[0].trace_id.hex()
    eventually(lambda: server.trace(gone) is None, "the plain trace is gone", 60)
    assert len(server.trace(keep)) == 3
    assert len(server.trace(failed[0].trace_id.hex())) == 3
    assert server.metric("tactus_compactor_expired_traces_total") >= 1


def test_policy_that_is_no_query_stops_the_start_and_is_named(servers):
    server = servers.new(config={"overrides": {"defaults": {"compaction": {"retention_policies": [
        {"query": "{ status = }", "retention": "1d"}]}}}})
    server.spawn()
    assert server.process.wait(30) == 1
    assert "overrides.defaults.compaction.retention_policies" in server.logs()
    assert "{ status = }" in server.logs()


def test_damaged_block_is_left_out_and_the_others_are_merged(servers):
    server, pushed = with_blocks(servers, 4)
    victim = server.block_directories()[0]
    data = victim / "data.parquet"
    data.write_bytes(data.read_bytes()[:-2000])
    server.config = merge(server.config, COMPACT)
    server.start()
    eventually(lambda: sorted(m["compactionLevel"] for m in metas(server)) == [0, 1], "the other three are one")
    assert server.metric("tactus_compactor_damaged_blocks") == 1
    found = server.search("{}")
    assert len(found) == 9 and set(found) < set(pushed)
    assert victim.exists() and data.exists()


def test_blocks_flagged_by_another_writer_are_left_alone(servers):
    server, pushed = with_blocks(servers, 3)
    flagged = server.block_directories()[0]
    (flagged / "nocompact.flg").touch()
    server.config = merge(server.config, COMPACT)
    server.start()
    eventually(lambda: sorted(m["compactionLevel"] for m in metas(server)) == [0, 1], "the other two are one")
    assert flagged in server.block_directories()
    assert server.search("{}") == dict.fromkeys(pushed, 3)


def test_what_a_killed_writer_left_is_deleted_once_it_is_old(servers):
    server, pushed = with_blocks(servers, 1)
    (block,) = server.block_directories()
    unfinished = block.parent / "99999999-9999-4999-8999-999999999999"
    shutil.copytree(block, unfinished)
    (unfinished / "meta.json").unlink()
    server.config = merge(server.config, merge(COMPACT, {"compactor": {"compaction": {"orphan_age": "5s"}}}))
    server.start()
    assert unfinished.exists()
    eventually(lambda: not unfinished.exists(), "it is deleted", 30)
    assert server.search("{}") == dict.fromkeys(pushed, 3)


@pytest.mark.parametrize("version", ["vParquet3", "vParquet4", "vParquet5"])
def test_block_of_tempo_is_merged_with_a_copy_and_answers_as_before(servers, version):
    server = servers.new(config=REST)
    put_sample_block(version, server.blocks)
    (block,) = server.block_directories()
    copy = block.parent / "44444444-4444-4444-8444-444444444444"
    shutil.copytree(block, copy)
    meta = json.loads((copy / "meta.json").read_text())
    (copy / "meta.json").write_text(json.dumps(meta | {"blockID": copy.name}))
    for index in block.parent.glob("index.*"):
        index.unlink()
    window = {"start": 1_700_000_000 - 60, "end": 1_700_000_000 + 3600}
    keep_all = {"compactor": {"compaction": {"block_retention": "876000h"}}}
    server.config = merge(server.config, keep_all)
    server.start()
    eventually(lambda: len(server.search("{}", **window)) == 64, "the blocks are known")
    ids = sorted(server.search("{}", **window))
    before = {trace_id: server.get(f"/api/v2/traces/{trace_id}").json() for trace_id in ids}
    server.stop()
    server.config = merge(server.config, merge(COMPACT, {"compactor": {"disabled": False}}))
    server.start()
    eventually(lambda: [m["compactionLevel"] for m in metas(server)] == [1], "one block")
    (merged,) = metas(server)
    written = "vParquet4" if version == "vParquet3" else version
    assert (merged["format"], merged["totalObjects"]) == (written, 64)
    assert merged["dedicatedColumns"] == meta["dedicatedColumns"]
    for trace_id in ids:
        assert spans_of(server.get(f"/api/v2/traces/{trace_id}").json()) == spans_of(before[trace_id]), trace_id


def spans_of(trace):
    """A trace as a set: spans with their resource and scope; attributes in no order."""
    def plain(value):
        if isinstance(value, dict):
            return {k: sorted(map(json.dumps, map(plain, v))) if k == "attributes" else plain(v) for k, v in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value
    return sorted(
        json.dumps([plain(group.get("resource")), plain(scope.get("scope")), plain(span)], sort_keys=True)
        for group in trace["trace"]["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"])


JOBS = {"compactor": {"jobs": {"api_enabled": True, "watch_period": "1s"}}}


def post_job(server, **request):
    return server.session.post(f"{server.url}/api/jobs", json=request, timeout=30)


def test_tenant_has_as_many_open_jobs_as_configured(servers):
    server = servers.start(config=merge(merge(COMPACT, {"multitenancy_enabled": True}), {
        "compactor": {"jobs": {"api_enabled": True, "max_open_per_tenant": 3}}}))
    url = server.url + "/api/jobs"

    def post(tenant):
        return requests.post(url, json={"deleteTraces": ["1"]}, headers={"X-Scope-OrgID": tenant}, timeout=30)

    made = [post("a") for _ in range(3)]
    assert [answer.status_code for answer in made] == [202] * 3
    refused = post("a")
    assert refused.status_code == 429 and "compactor.jobs.max_open_per_tenant" in refused.text, refused.text
    assert post("b").status_code == 202
    for tenant, status in (("b", 404), ("a", 200)):
        job = made[1].json()["id"]
        assert requests.delete(f"{url}/{job}", headers={"X-Scope-OrgID": tenant}, timeout=30).status_code == status
    assert [post("a").status_code for _ in range(2)] == [202, 429]
    listed = requests.get(url, headers={"X-Scope-OrgID": "a"}, timeout=30).json()["jobs"]
    assert sorted(job["status"] == "cancelled" for job in listed) == [False, False, False, True]
    created = [job["createdAt"] for job in listed]
    assert created == sorted(created, reverse=True)
    assert requests.get(url, headers={"X-Scope-OrgID": "c"}, timeout=30).json() == {"jobs": []}


def test_deletion_job_takes_a_trace_out_of_all_blocks_and_leaves_a_record(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    spans = otlp.trace(4)
    doomed = spans[0].trace_id.hex()
    server.must_push(otlp.export(*spans[:2]))
    pushed = push_blocks(server, 1)
    server.must_push(otlp.export(*spans[2:]))
    pushed.update(push_blocks(server, 1))
    assert len(server.trace(doomed)) == 4
    response = post_job(server, deleteTraces=[doomed], requestedBy="dpo", reason="ticket 7")
    assert response.status_code == 202, response.text
    job = response.json()
    assert (job["status"], job["request"]["reason"]) == ("pending", "ticket 7")
    eventually(lambda: server.trace(doomed) is None, "the trace is gone")

    def record():
        return server.get(f"/api/jobs/{job['id']}").json()
    eventually(lambda: record()["status"] == "done", "the job is done")
    done = record()
    assert sum(change["tracesDeleted"] for change in done["blocks"]) == 2
    assert sum(change["spansDeleted"] for change in done["blocks"]) == 4
    for change in done["blocks"]:
        assert not (server.blocks / "single-tenant" / change["block"]).exists()
    assert [entry["id"] for entry in server.get("/api/jobs").json()["jobs"]] == [job["id"]]
    assert server.search("{}") == dict.fromkeys(pushed, 3)
    server.restart()
    assert server.trace(doomed) is None
    assert record() == done


def test_job_that_is_killed_again_and_again_has_every_block_on_record(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    doomed = otlp.trace(12)
    for one in doomed:
        server.must_push(otlp.export(one))
        server.flush()
    held = {block.name for block in server.block_directories()}
    seed = random.randrange(2**32)
    print("seed", seed)
    instants = random.Random(seed)
    job = post_job(server, deleteTraces=[doomed[0].trace_id.hex()]).json()
    for _ in range(4):
        time.sleep(instants.uniform(0.02, 0.3))
        server.kill()
        server.start()
    eventually(lambda: server.get(f"/api/jobs/{job['id']}").json()["status"] == "done", "the job is done")
    record = server.get(f"/api/jobs/{job['id']}").json()
    assert {change["block"] for change in record["blocks"]} == held, seed
    assert server.trace(doomed[0].trace_id.hex()) is None
    assert not list(server.blocks.glob("*/*/data.parquet")), "nothing else was stored"


def test_redaction_job_hashes_an_attribute_where_a_query_matches(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    mails = ["ada@example.org", "grace@example.org"]
    login = [otlp.span(name="login", attributes={"user.email": mail, "n": 1}) for mail in [*mails, mails[0]]]
    other = otlp.span(name="other", attributes={"user.email": mails[0]})
    server.must_push(otlp.export(*login, other))
    server.flush()
    response = post_job(server, redact=[
        {"scope": "span", "attribute": "user.email", "action": "hash", "query": '{ name = "login" }'}])
    assert response.status_code == 202, response.text
    eventually(lambda: len(server.search('{ span.user.email = "ada@example.org" }')) == 1, "logins are redacted")
    assert server.search('{ span.user.email = "grace@example.org" }') == {}
    assert other.trace_id.hex() in server.search('{ span.user.email = "ada@example.org" }')
    values = server.get("/api/v2/search/tag/span.user.email/values").json()["tagValues"]
    assert len(values) == 3, "equal values stay equal"
    assert len(server.search("{ span.n = 1 }")) == 3


def test_disabled_compactor_neither_merges_nor_deletes(servers):
    server, pushed = with_blocks(servers, 2)
    (server.block_directories()[0].parent / "99999999-9999-4999-8999-999999999999").mkdir()
    server.config = merge(server.config, merge(COMPACT, {
        "compactor": {"disabled": True, "compaction": {"block_retention": "1s"}}}))
    server.start()
    assert "neither merges nor deletes" in server.logs()
    polls = server.metric("tempodb_blocklist_poll_duration_seconds_count")
    eventually(lambda: server.metric("tempodb_blocklist_poll_duration_seconds_count") > polls + 4, "some polls")
    assert len(metas(server)) == 2
    assert server.search("{}") == dict.fromkeys(pushed, 3)


def job_of(server, **request):
    """Makes a job; returns a function that reads its record."""
    response = post_job(server, **request)
    assert response.status_code == 202, response.text
    return lambda: server.get(f"/api/jobs/{response.json()['id']}").json()


HASH_MAIL = {"scope": "span", "attribute": "user.email", "action": "hash"}


def push_mail(server, mail, **fields):
    """A block with one span that has a mail address; returns its trace id."""
    request = otlp.export(otlp.span(attributes={"user.email": mail}, **fields))
    server.must_push(request)
    server.flush()
    return next(iter(otlp.ids(request)))


def test_redaction_job_ends_while_blocks_with_the_attribute_keep_coming(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    push_mail(server, "first@example.org")
    job = job_of(server, redact=[HASH_MAIL])

    def is_done():
        push_mail(server, "later@example.org")
        return job()["status"] == "done"
    eventually(is_done, "the job is done", interval=0.3)
    last = push_mail(server, "last@example.org")
    eventually(lambda: last in server.search('{ span.user.email = "last@example.org" }'), "what comes later stays as it is")
    assert server.search('{ span.user.email = "first@example.org" }') == {}


def test_redaction_by_time_finds_spans_that_lie_outside_of_the_times_of_their_block(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    old = int(time.time()) - 5 * 86400
    inside, outside = push_mail(server, "a@example.org", start=old * 10**9), push_mail(server, "b@example.org")
    job = job_of(server, redact=[HASH_MAIL | {"start": old - 60, "end": old + 60}])
    eventually(lambda: job()["status"] == "done", "the job is done")
    assert [change["valuesRedacted"] for change in job()["blocks"]] == [1]
    assert "a@example.org" not in server.get(f"/api/v2/traces/{inside}").text
    assert "b@example.org" in server.get(f"/api/v2/traces/{outside}").text


def test_cancelled_job_stops_and_a_restarted_one_writes_no_block_twice(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, merge(JOBS, {
        "compactor": {"jobs": {"watch_period": "1h"}, "compaction": {"compaction_cycle": "3s"}}}))))
    for _ in range(40):
        push_mail(server, "a@example.org")
    job = job_of(server, redact=[HASH_MAIL])
    eventually(lambda: job()["blocks"], "the first block is written again", interval=0.001)
    cancelled = server.session.delete(f"{server.url}/api/jobs/{job()['id']}", timeout=30).json()
    assert cancelled["status"] == "cancelled"
    whole = job_of(server, redact=[HASH_MAIL])
    eventually(lambda: whole()["status"] == "watching", "the next job is through")
    ended = job()
    # The block that was being written again may have come to its end.
    assert ended["status"] == "cancelled" and len(ended["blocks"]) <= len(cancelled["blocks"]) + 1
    written = len(whole()["blocks"])
    server.restart()
    push_mail(server, "a@example.org")
    eventually(lambda: len(whole()["blocks"]) == written + 1, "only the new block is written again")


def test_job_is_not_done_while_a_block_cannot_be_read(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    trace_id = otlp.push_trace(server)
    server.flush()
    server.stop()
    (block,) = server.block_directories()
    meta = json.loads((block / "meta.json").read_text())
    (block / "meta.json").write_text(json.dumps(meta | {"format": "vParquet2"}))
    for index in block.parent.glob("index.*"):
        index.unlink()
    server.start()
    job = job_of(server, deleteTraces=[trace_id])
    eventually(lambda: job()["status"] == "running" and "vParquet2" in job()["error"], "the record says why")


def test_job_is_not_done_while_the_list_of_blocks_is_incomplete(servers):
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, JOBS)))
    trace_ids = []
    for _ in range(2):
        trace_ids.append(otlp.push_trace(server))
        server.flush()
    server.stop()
    damaged = server.block_directories()[0] / "meta.json"
    whole = damaged.read_text()
    damaged.write_text(whole[:100])
    for index in damaged.parent.parent.glob("index.*"):
        index.unlink()
    server.start()
    job = job_of(server, deleteTraces=trace_ids)
    eventually(lambda: job()["status"] == "running" and "incomplete" in job()["error"], "the record says why")
    damaged.write_text(whole)
    eventually(lambda: job()["status"] == "done", "it goes on once the block is known", 60)
    assert all(server.get(f"/api/traces/{trace_id}").status_code == 404 for trace_id in trace_ids)


def test_jobs_with_queries_do_not_rewrite_what_each_other_wrote(servers):
    watched = {"compactor": {"jobs": {"api_enabled": True, "watch_period": "4s"}}}
    server = servers.start(config=merge(COMPACT, merge(NO_MERGES, watched)))
    for mail in "one@example.org", "two@example.org":
        push_mail(server, mail)
    jobs = [job_of(server, redact=[HASH_MAIL | {"query": f'{{ span.user.email = "{name}" }}'}]) for name in ("none", "nobody")]
    eventually(lambda: [job()["status"] for job in jobs] == ["done", "done"], "both jobs are done", 60)
    assert [job()["blocks"] for job in jobs] == [[], []], "what a query does not match is not written again"


def test_many_jobs_share_the_time_with_merges(servers):
    server = servers.start(config=merge(JOBS, {"compactor": {"compaction": {"compaction_cycle": "1h"}}}))
    for _ in range(10):
        push_mail(server, "a@example.org")
    for n in range(100):
        job_of(server, redact=[HASH_MAIL | {"query": f'{{ span.user.email =~ "{n}.*" }}'}])
    server.stop()
    server.config = merge(server.config, COMPACT)
    server.start()

    def states():
        return {job["status"] for job in server.get("/api/jobs").json()["jobs"]}
    eventually(lambda: len(metas(server)) == 1, "the blocks are merged", interval=0.02)
    assert "pending" in states(), "not after all jobs had a turn"
    eventually(lambda: states() == {"done"}, "each job has its turns", 120)


def test_record_of_a_finished_job_is_kept_as_long_as_configured(servers):
    server = servers.start(config=merge(COMPACT, merge(JOBS, {"compactor": {"jobs": {"record_retention": "3s"}}})))
    url = server.url + "/api/jobs/" + post_job(server, deleteTraces=["1"]).json()["id"]
    eventually(lambda: server.session.get(url, timeout=30).json()["status"] == "done", "the job is done")
    eventually(lambda: server.session.get(url, timeout=30).status_code == 404, "its record is deleted")
    assert server.get("/api/jobs").json() == {"jobs": []}


def test_jobs_are_refused_where_they_are_off_or_make_no_sense(servers):
    server = servers.start(config=JOBS)
    for request, field in [
        ({}, "deleteTraces"), ({"deleteTraces": ["nonsense"]}, "deleteTraces"), ({"delete": []}, "delete"),
        ({"redact": [{"attribute": "a", "action": "hash", "query": "{"}]}, "redact.query"),
    ]:
        response = post_job(server, **request)
        assert response.status_code == 400 and field in response.text, response.text
    assert server.get("/api/jobs/99999999-9999-4999-8999-999999999999").status_code == 404
    closed = servers.start("closed")
    response = post_job(closed, deleteTraces=["0af7651916cd43dd8448eb211c80319c"])
    assert response.status_code == 403 and "compactor.jobs.api_enabled" in response.text
