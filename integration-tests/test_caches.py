"""Caches on the network: what they hold is used, and whatever they do, answers are the same."""
import os
import random
import shutil
import threading
import time

import pytest

from harness import otlp
from harness.caches import KINDS, Memcached, Redis, RedisCluster, Sentinel, TlsProxy
from harness.server import merge
from harness.waiting import eventually

FAST = {
    "ingester": {"trace_idle_period": "100ms", "flush_check_period": "50ms"},
    "storage": {"trace": {"blocklist_poll": "500ms"}},
}
# Answers kept in memory would hide what the caches of blocks do.
NO_RESULTS = {"query_frontend": {"result_cache_bytes": 0}}
BLOCK_ROLES = ["bloom", "parquet-footer", "parquet-offset-idx", "parquet-page"]
INVALID = "tactus_cache_invalid_values_total"


@pytest.fixture(params=sorted(KINDS))
def cache(request, tmp_path):
    server = KINDS[request.param](tmp_path).start()
    yield server
    server.close()


def config(cache, bucket, roles, *more, **servers):
    out = merge(merge(FAST, bucket.config()), {"cache": {"caches": [{"roles": roles, **cache.config(**servers)}]}})
    for extra in more:
        out = merge(out, extra)
    return out


def forget_memory_and_disk(server):
    """A new process with an empty disk: what it does not have to read again is in a cache."""
    assert server.stop() == 0
    shutil.rmtree(server.wal, ignore_errors=True)
    server.start()


class Data:
    """80 traces in some blocks in the bucket, and questions about them."""

    def __init__(self, server, bucket, blocks=2):
        self.server, self.now = server, int(time.time())
        self.trace_ids = []
        for count in range(1, blocks + 1):
            self.trace_ids += [otlp.push_trace(server, spans=4, service=f"service-{i % 3}") for i in range(80 // blocks)]
            server.flush()
            eventually(lambda n=count: len(bucket.blocks()) == n, "the block")
        forget_memory_and_disk(server)
        eventually(lambda: len(server.search("{}")) == 80, "all traces from the bucket")

    def answers(self):
        """Everything that a client can ask, without what it costs."""
        server, window = self.server, {"start": self.now - 600, "end": self.now + 600}
        searches = [
            server.search(query, limit=1000, **window) for query in
            ("{}", '{ resource.service.name = "service-1" }', "{ duration > 1h }", "{ } | count() > 3")]
        out = [searches, [sorted(span for span, _ in server.trace(t)) for t in self.trace_ids[::7]]]
        assert server.trace("ab" * 16) is None
        for path, parameters in (
                ("/api/v2/search/tags", {}), ("/api/v2/search/tag/resource.service.name/values", {}),
                ("/api/metrics/query_range", {"q": "{} | rate() by (resource.service.name)", "step": "60s"})):
            response = server.get(path, **window, **parameters)
            assert response.status_code == 200 and "X-Tactus-Partial" not in response.headers, response.text
            answer = response.json()
            answer.pop("metrics", None)
            for series in answer.get("series", []):
                # Chosen by chance.
                series.pop("exemplars", None)
            out.append(answer)
        return out

    def explained(self, query="{}"):
        response = self.server.get(
            "/api/search", q=query, start=self.now - 600, end=self.now + 600, limit=1000, spss=100,
            explain="true")
        assert response.status_code == 200, response.text
        return response.json()["explain"]["totals"]


def written(server, cache):
    """Waits until what was read is in the cache."""
    eventually(
        lambda: cache.stats()["items"] > 0 and server.metric("tempo_cache_background_queue_length") == 0,
        "values in the cache")


def test_restarted_server_finds_what_it_read_in_the_cache(servers, bucket, cache):
    server = servers.start(config=config(cache, bucket, BLOCK_ROLES, NO_RESULTS))
    data = Data(server, bucket)
    expected = data.answers()
    written(server, cache)
    keys = cache.keys()
    assert all(key.startswith("tactus:") for key in keys), keys
    # Offset indexes stand in the summary of a block, which is kept as footers are.
    for role in sorted({*BLOCK_ROLES} - {"parquet-offset-idx"}):
        assert any(f":{role}:" in key for key in keys), (role, keys)
    assert any(":tactus-summary:" in key for key in keys), keys
    forget_memory_and_disk(server)
    hits = cache.stats()["hits"]
    assert data.answers() == expected
    assert cache.stats()["hits"] > hits + 10
    assert server.metric(INVALID) == 0
    name = {"memcached": "tempo_memcache_request_duration_seconds_count",
            "redis": "tempo_rediscache_request_duration_seconds_count"}[cache.kind]
    assert any(key.startswith(name) and 'status_code="200"' in key for key in server.metrics())
    forget_memory_and_disk(server)
    totals = data.explained()
    assert totals["sharedCacheBytes"] > 0 and totals["sharedCacheBytes"] <= totals["readBytes"], totals


def test_answers_are_shared_and_no_block_is_read_for_them(servers, bucket, cache):
    server = servers.start(config=config(cache, bucket, ["frontend-search"]))
    data = Data(server, bucket)
    expected = data.answers()
    written(server, cache)
    forget_memory_and_disk(server)
    hits = cache.stats()["hits"]
    totals = data.explained()
    assert totals["readBytes"] == 0 and totals["pruned"] == {"answer was kept": totals["parts"]}, totals
    assert data.answers() == expected
    assert cache.stats()["hits"] > hits + 5
    # In memory now.
    cache.kill()
    assert data.explained()["readBytes"] == 0
    assert data.answers() == expected


@pytest.mark.parametrize("roles", [BLOCK_ROLES, ["frontend-search"]], ids=["blocks", "answers"])
def test_cache_full_of_garbage_changes_no_answer(servers, bucket, cache, roles):
    more = [NO_RESULTS] if roles == BLOCK_ROLES else []
    server = servers.start(config=config(cache, bucket, roles, *more))
    data = Data(server, bucket)
    expected = data.answers()
    written(server, cache)
    keys = cache.keys()
    values = {key: cache.get(key) for key in keys}
    dice = random.Random(1)

    def flipped(key):
        value = bytearray(values[key])
        value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
        return bytes(value)

    garbage = {
        "noise": lambda key: os.urandom(len(values[key])),
        "cut": lambda key: values[key][:-1],
        "one bit": flipped,
        "another's": lambda key: values[keys[keys.index(key) - 1]],
        "empty": lambda key: b"",
    }
    for name, value_of in garbage.items():
        cache.overwrite(value_of)
        forget_memory_and_disk(server)
        assert data.answers() == expected, name
        assert server.metric(INVALID) > 0, name
        written(server, cache)


def test_cache_that_dies_in_mid_query_changes_no_answer(servers, bucket, cache):
    server = servers.start(config=config(cache, bucket, [*BLOCK_ROLES, "frontend-search"]))
    data = Data(server, bucket)
    expected = data.answers()
    written(server, cache)
    forget_memory_and_disk(server)
    wrong, asked, done = [], threading.Semaphore(0), threading.Event()

    def ask():
        while not done.is_set():
            answers = data.answers()
            if answers != expected:
                wrong.append(answers)
            asked.release()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for kill in (lambda: None, cache.kill, cache.start, cache.kill):
            kill()
            for _ in range(4):
                assert asked.acquire(timeout=60)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:1]


def test_cache_that_hangs_costs_little_time(servers, bucket, cache):
    server = servers.start(config=config(cache, bucket, BLOCK_ROLES, NO_RESULTS, timeout="100ms"))
    data = Data(server, bucket)
    expected = data.answers()
    written(server, cache)
    forget_memory_and_disk(server)
    cache.hang()
    try:
        started = time.monotonic()
        assert data.answers() == expected
        # Without a breaker each of a hundred reads would wait.
        assert time.monotonic() - started < 8
        assert "going on without it" in server.logs()
        forget_memory_and_disk(server)
        assert data.answers() == expected
    finally:
        cache.go_on()


def test_cache_that_is_away_at_the_start_is_a_warning(servers, bucket, cache):
    cache.kill()
    server = servers.start(config=config(cache, bucket, BLOCK_ROLES))
    eventually(lambda: "cannot reach a cache" in server.logs(), "a warning")
    assert f"servers={cache.address}" in server.logs(), "it says which"
    data = Data(server, bucket)
    expected = data.answers()
    cache.start()
    assert data.answers() == expected


def test_cache_of_earlier_releases_works_over_a_local_store(servers, cache):
    old = {"storage": {"trace": {"cache": cache.kind, **cache.config(), "search": {"cache_control": {"footer": True}}}}}
    server = servers.start(config=merge(merge(FAST, NO_RESULTS), old))
    trace_ids = [otlp.push_trace(server) for _ in range(5)]
    server.flush()
    eventually(server.block_directories, "a block")
    for _ in range(2):
        assert server.stop() == 0
        shutil.rmtree(server.wal)
        server.start()
        eventually(lambda: server.search("{}") == dict.fromkeys(trace_ids, 3), "all traces")
        assert len(server.trace(trace_ids[0])) == 3
        written(server, cache)
    roles = {key.split(":")[2] for key in cache.keys()}
    assert roles == {"bloom", "parquet-footer"}
    assert cache.stats()["hits"] >= 2


def used_after_a_restart(server, bucket, *caches, blocks=2):
    """Answers stay the same, and each cache has a part in them."""
    data = Data(server, bucket, blocks)
    expected = data.answers()
    for cache in caches:
        written(server, cache)
    forget_memory_and_disk(server)
    hits = [cache.stats()["hits"] for cache in caches]
    assert data.answers() == expected
    assert all(cache.stats()["hits"] > before for cache, before in zip(caches, hits)), hits
    return data, expected


@pytest.fixture
def started(tmp_path):
    """Starts further servers, which end with the test."""
    running = []

    def start(kind, *arguments):
        directory = tmp_path / f"server-{len(running)}"
        directory.mkdir()
        server = kind(directory, *arguments)
        running.append(server)
        return server.start() if hasattr(server, "start") else server

    yield start
    for server in running:
        server.close()


def test_values_are_spread_over_memcached_servers(servers, bucket, started):
    one, two = started(Memcached), started(Memcached)
    addresses = f"dns+{one.address},{two.address}"
    server = servers.start(config=config(one, bucket, BLOCK_ROLES, NO_RESULTS, addresses=addresses))
    # Of few values all may belong to one server: which one, their hashes and the ports say.
    data, expected = used_after_a_restart(server, bucket, one, two, blocks=8)
    assert not set(one.keys()) & set(two.keys())
    assert server.metric("tempo_memcache_client_servers") == 2
    two.kill()
    forget_memory_and_disk(server)
    hits = one.stats()["hits"]
    assert data.answers() == expected
    assert one.stats()["hits"] > hits


def test_redis_cluster_is_used(servers, bucket, started):
    cache = started(RedisCluster)
    server = servers.start(config=config(cache, bucket, BLOCK_ROLES, NO_RESULTS))
    used_after_a_restart(server, bucket, cache)


def test_primary_that_sentinels_name_is_used(servers, bucket, started):
    cache = started(Redis)
    sentinel = started(Sentinel, cache)
    server = servers.start(config=config(sentinel, bucket, BLOCK_ROLES, NO_RESULTS))
    used_after_a_restart(server, bucket, cache)


def test_caches_are_reached_over_tls(servers, bucket, cache, started, tmp_path):
    proxy = started(lambda directory: TlsProxy(directory, cache))
    address = f"localhost:{proxy.port}"
    tls = {
        "memcached": {"addresses": address, "tls_enabled": True, "tls_ca_path": str(proxy.path)},
        "redis": {"endpoint": address, "tls-enabled": True, "tls_insecure_skip_verify": True},
    }[cache.kind]
    server = servers.start(config=config(cache, bucket, BLOCK_ROLES, NO_RESULTS, **tls))
    used_after_a_restart(server, bucket, cache)
    # A certificate that nobody vouches for.
    tls.pop("tls_ca_path", None)
    tls.pop("tls_insecure_skip_verify", None)
    other = servers.start("other", config=config(cache, bucket, BLOCK_ROLES, **tls))
    eventually(lambda: "cannot reach a cache" in other.logs(), "a warning")


def test_caches_that_cannot_be_are_refused(servers):
    for caches, text in [
        ([{"roles": ["bloom"], "memcached": {}}], "no addresses are set"),
        ([{"roles": ["bloom"], "redis": {"endpoint": "nowhere"}}], "is not host:port"),
        ([{"roles": ["bloom"], "redis": {"endpoint": "a:1"}}] * 2, "role bloom is claimed by more than one cache"),
    ]:
        server = servers.new(config={"cache": {"caches": caches}}).spawn()
        assert server.process.wait(30) != 0
        assert text in server.logs(), server.logs()
        os.truncate(server.log_path, 0)
