"""The command-line tool as a user runs it: on blocks that Grafana Tempo wrote, on those of a server, and on damaged ones.

The tool is TACTUSCTL_BIN, else what lies beside the server."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import uuid

import pytest
import yaml

from harness import otlp
from harness.disk_faults import READS, FaultyDisk
from harness.paths import CONFORMANCE, REPOSITORY, tactus_binary
from harness.server import merge
from harness.waiting import eventually

TENANT = "single-tenant"
V4 = "11111111-1111-4111-8111-111111111111"
V5 = "22222222-2222-4222-8222-222222222222"
SHOP = "0af7651916cd43dd8448eb211c80319c"
DAMAGE = 3


def binary():
    given = os.environ.get("TACTUSCTL_BIN")
    path = pathlib.Path(given) if given else pathlib.Path(tactus_binary()).with_name("tactusctl")
    assert path.is_file(), f"{path}: build it with `cargo build -p tactusctl` or name it with TACTUSCTL_BIN"
    return str(path)


def run(*arguments, code=0, **kwargs):
    """Runs the tool; returns what it writes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TACTUS_")}
    done = subprocess.run(
        [binary(), *map(str, arguments)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env=environment, **kwargs)
    assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert "panicked" not in done.stderr, done.stderr
    return done.stdout if code in (0, DAMAGE, None) else done.stderr


def as_json(*arguments, code=0):
    return json.loads(run("--json", *arguments, code=code))


def copy_of(version, path):
    shutil.copytree(CONFORMANCE / "blocks" / version, path)
    for entry in [path, *path.rglob("*")]:
        entry.chmod(0o755 if entry.is_dir() else 0o644)
    return path


@pytest.fixture
def store(tmp_path):
    """A local store with the vParquet4 sample."""
    return copy_of("vParquet4", tmp_path / "store")


@pytest.fixture
def block(store):
    return store / TENANT / V4


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Both samples, not to be changed: version -> store, block."""
    directory = tmp_path_factory.mktemp("samples")
    return {
        version: (copy_of(version, directory / version), block)
        for version, block in (("vParquet4", V4), ("vParquet5", V5))
    }


@pytest.fixture(params=["vParquet4", "vParquet5"])
def sample(request, samples):
    return (*samples[request.param], request.param)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_tenants_and_blocks_of_a_store(sample):
    store, block, version = sample
    (tenant,) = as_json("--path", store, "tenants")["tenants"]
    assert (tenant["tenant"], tenant["blocks"], tenant["traces"], tenant["unreadableBlocks"]) == (TENANT, 1, 64, 0)
    (listed,) = as_json("--path", store, "blocks", TENANT)["blocks"]
    assert (listed["blockID"], listed["state"], listed["format"]) == (block, "live", version)
    text = run("--path", store, "blocks", TENANT)
    assert block in text and "1 live block," in text
    assert as_json("--path", store, "blocks", TENANT, "--since", "1h")["blocks"] == []


def test_block_shows_meta_schema_and_columns(sample):
    store, block, version = sample
    shown = as_json("--path", store, "block", TENANT, block, "--schema")
    leaves = {"vParquet4": 103, "vParquet5": 96}[version]
    groups = {"vParquet4": [29, 30, 5], "vParquet5": [17, 18, 18, 11]}[version]
    assert len(shown["columns"]) == leaves
    assert [group["traces"] for group in shown["rowGroups"]] == groups
    sizes = [column["compressedBytes"] for column in shown["columns"]]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) < shown["meta"]["size"]
    assert {"name": "data.parquet", "bytes": shown["meta"]["size"]} in shown["files"]
    assert "message Trace" in shown["schema"]
    text = run("--path", store, "block", TENANT, block)
    assert "span.customer" in text and "message Trace" not in text


def test_trace_from_a_store(sample):
    store, _, _ = sample
    text = run("--path", store, "trace", TENANT, SHOP)
    assert re.search(r"^✗ frontend +GET /api +250ms", text, re.MULTILINE), text
    assert re.search(r"└─ SELECT", text) and "spans: 4  services: 2  errors: 1" in text
    (resource, *_) = as_json("--path", store, "trace", TENANT, SHOP)["trace"]["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"]
    # A short id is padded as the API pads it.
    assert "spans: 4" in run("--path", store, "trace", TENANT, "463ac35c9f6413ad")
    assert "no such trace" in run("--path", store, "trace", TENANT, "1234", code=1)


def test_block_that_cannot_be_read_is_told(store, block):
    (block / "data.parquet").write_bytes(b"PAR1")
    assert "incomplete: some blocks could not be read" in run("--path", store, "query", TENANT, "{ }")
    assert "the trace was not found, but not everything was read: 1 damaged blocks could not be read" in run("--path", store, "trace", TENANT, SHOP, code=1)
    done = subprocess.run(
        [binary(), "--path", store, "--json", "query", TENANT, "{ }"], capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["traces"] == [] and done.stderr == "incomplete: some blocks could not be read\n"


def test_search_without_a_server(sample):
    store, _, _ = sample
    found = as_json("--path", store, "query", TENANT, '{ span.customer="cust-1" }')["traces"]
    assert len(found) == 12
    assert len(as_json("--path", store, "query", TENANT, "{}", "--limit", 1000)["traces"]) == 64
    text = run("--path", store, "query", TENANT, "{ status = error }")
    assert SHOP in text and "\n1 trace\n" in text
    assert as_json("--path", store, "query", TENANT, "{}", "--since", "1h")["traces"] == []
    narrow = ["--start", "2023-11-14T22:13:20Z", "--end", 1_700_000_001]
    assert 0 < len(as_json("--path", store, "query", TENANT, "{}", *narrow, "--limit", 1000)["traces"]) < 64


def test_metrics_without_a_server(sample):
    store, _, _ = sample
    query = "{} | count_over_time() by (resource.service.name)"
    series = as_json("--path", store, "query", TENANT, query, "--step", "1h")["series"]
    assert sum(sample.get("value", 0) for one in series for sample in one["samples"]) == 252
    text = run("--path", store, "query", TENANT, query, "--step", "5s")
    assert re.search(r'resource.service.name="svc-1"\} +[▁-█]+', text), text


def test_analyse_recommends_columns(sample):
    store, block, version = sample
    found = as_json("--path", store, "analyse", TENANT, "--row-groups", 10, "--limit", 1000)
    keys = {(a["scope"], a["key"]): a for a in found["attributes"]}
    # A value of each filler span, and no column of its own in either sample.
    assert keys["span", "n"]["count"] == 240 and keys["span", "n"]["column"] == "generic"
    assert keys["span", "customer"]["column"] == "dedicated"
    assert keys["resource", "service.name"]["column"] == "fixed"
    assert (found["spans"], found["traces"]) == (252, 64)
    names = [(c["scope"], c["name"]) for c in found["recommended"]]
    assert (("span", "n") in names) == (version == "vParquet5"), "only the newer version has integers"
    columns = yaml.safe_load(found["yaml"])["storage"]["trace"]["block"]["parquet_dedicated_columns"]
    assert [(c["scope"], c["name"]) for c in columns] == names
    assert found["yaml"] in run("--path", store, "analyse", TENANT, block, "--row-groups", 10)


def test_recommended_columns_are_a_configuration(samples, tmp_path):
    for store, block in samples.values():
        file = tmp_path / "tactus.yaml"
        columns = yaml.safe_load(as_json("--path", store, "analyse", TENANT, block)["yaml"])
        file.write_text(yaml.safe_dump(merge({"storage": {"trace": {"backend": "local", "local": {"path": str(store)}}}}, columns)))
        done = subprocess.run(
            [tactus_binary(), f"-config.file={file}", "-config.verify"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "code", "says"), [
    ([], 2, "Usage"),
    (["blocks"], 2, "TENANT"),
    (["tenants"], 2, "--path"),
    (["--path", "/no/such/place", "tenants"], 1, "not a directory"),
    (["--path", ".", "blocks", "nobody"], 1, "no tenant nobody"),
    (["--path", ".", "query", "t", "{"], 2, "TraceQL"),
    (["--path", ".", "trace", "t", "xyz"], 2, "no trace id"),
    (["--path", ".", "verify", "a/b"], 1, "tenant"),
    (["-c", "/no/such/file", "tenants"], 1, "/no/such/file"),
    (["api", "trace", "--url", "http://127.0.0.1:1", "5"], 1, "http://127.0.0.1:1"),
])
def test_wrong_arguments_are_explained(arguments, code, says, tmp_path):
    assert says in run(*arguments, code=code, cwd=tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell):
    script = run("completion", shell)
    for command in ("tenants", "verify", "analyse"):
        assert command in script


def test_completion_of_bash_works():
    script = run("completion", "bash") + "\nCOMP_WORDS=(tactusctl ver) COMP_CWORD=1\n" \
        "_tactusctl tactusctl ver tactusctl; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["verify"], done.stderr


def test_exit_code_does_not_depend_on_who_reads_the_output(store, block, tmp_path):
    (block / "bloom-0").unlink()
    (tmp_path / "tempo.yaml").write_text("storage: {trace: {backend: local, local: {path: ./b}, wal: {path: ./w}}}\nsearch_enabled: true\n")
    migrate = ["migrate", "config", tmp_path / "tempo.yaml", "--write"]
    for arguments in (["--path", store, "verify"], [*migrate, tmp_path / "read.yaml"]):
        expected = subprocess.run([binary(), *map(str, arguments)], capture_output=True, timeout=60).returncode
        read, write = os.pipe()
        os.close(read)
        arguments = [str(argument).replace("read.yaml", "unread.yaml") for argument in arguments]
        done = subprocess.run([binary(), *arguments], stdout=write, stderr=subprocess.PIPE, timeout=60)
        os.close(write)
        assert (done.returncode, done.stderr) == (expected, b"")
    assert (tmp_path / "unread.yaml").read_text() == (tmp_path / "read.yaml").read_text()


def test_output_that_nobody_reads_is_no_error(samples):
    store, block = samples["vParquet4"]
    line = f"set -o pipefail; '{binary()}' --path '{store}' block {TENANT} {block} --schema | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# --- verify and repair -----------------------------------------------------------------------------------------------


def findings(store, *arguments, code=0):
    report = as_json("--path", store, "verify", *arguments, code=code)
    return {f["problem"]: f for tenant in report["tenants"] for f in tenant["findings"]}


def assert_sound(store, traces=64):
    """Nothing is wrong, and every trace is found."""
    report = as_json("--path", store, "verify", "--deep")
    damage = [f for t in report["tenants"] for f in t["findings"] if f["severity"] == "damage"]
    assert not damage and report["damage"] == 0
    assert len(as_json("--path", store, "query", TENANT, "{}", "--limit", 1000)["traces"]) == traces


def mend(store, problem, *arguments):
    """Damage is found, stays found, is mended, and is gone."""
    for _ in range(2):
        assert findings(store, *arguments, code=DAMAGE)[problem]["severity"] == "damage"
    assert "repair" in findings(store, *arguments, "--repair")[problem]


def test_samples_are_sound(sample):
    store, _, _ = sample
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert findings(store) == {} == findings(store, "--deep")
    assert findings(store, "--deep", "--repair") == {}
    assert before == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert run("--path", store, "verify") == "blocks: 1  damage: 0  repaired: 0\n"


def test_missing_bloom_is_made_again(store, block):
    bloom = (block / "bloom-0").read_bytes()
    (block / "bloom-0").unlink()
    mend(store, "bloom")
    assert (block / "bloom-0").read_bytes() == bloom, "the same bytes"
    assert_sound(store)


def test_bloom_that_lost_bits_is_found_by_a_deep_check(store, block):
    bloom = (block / "bloom-0").read_bytes()
    (block / "bloom-0").write_bytes(bloom[:24] + bytes(len(bloom) - 24))
    assert findings(store) == {}
    mend(store, "bloom", "--deep")
    assert (block / "bloom-0").read_bytes() == bloom


def test_repairs_keep_the_number_of_bloom_filters(store, block):
    """Merged blocks have more than their traces need, and processes that run look for a trace in one of as many as before."""
    meta = json.loads((block / "meta.json").read_text())
    (block / "meta.json").write_text(json.dumps({**meta, "bloomShards": 3}))
    for name in ("index.pb.zst", "index.json.gz"):
        (store / TENANT / name).unlink()

    def state():
        assert json.loads((block / "meta.json").read_text())["bloomShards"] == 3
        return {number: (block / f"bloom-{number}").read_bytes() for number in range(3)}

    findings(store, "--deep", "--repair")
    blooms = state()
    assert_sound(store)
    (block / "bloom-1").unlink()
    mend(store, "bloom")
    assert state() == blooms
    # Another repair leaves filters alone, even those of another size.
    odd = {number: bloom + bytes(8) for number, bloom in blooms.items()}
    for number, bloom in odd.items():
        (block / f"bloom-{number}").write_bytes(bloom)
    (block / "meta.json").write_text(json.dumps({**meta, "bloomShards": 3, "totalObjects": 63}))
    (block / "index").unlink()
    mend(store, "traces")
    assert state() == odd
    assert_sound(store)


def test_missing_index_of_a_block_of_tempo_is_no_damage(store, block):
    (block / "index").unlink()
    for arguments in ((), ("--repair",)):
        assert findings(store, *arguments)["index"]["severity"] == "note"
    assert not (block / "index").exists()


@pytest.mark.parametrize("content", [b"nonsense", b'{"rowGroups":["AAAAAAAAAAAAAAAAAAAAAA=="]}'])
def test_wrong_index_is_found_by_a_deep_check(store, block, content):
    index = (block / "index").read_bytes()
    (block / "index").write_bytes(content)
    mend(store, "index", "--deep")
    assert (block / "index").read_bytes() == index


@pytest.mark.parametrize(("key", "value", "problem"), [
    ("size", 103_583, "size"),
    ("footerSize", 7, "footer"),
    ("totalRecords", 1, "row-groups"),
    ("totalObjects", 63, "traces"),
    ("bloomShards", 3, "bloom"),
    ("endTime", "2001-01-01T00:00:00Z", "times"),
])
def test_wrong_meta_is_corrected(store, block, key, value, problem):
    right = json.loads((block / "meta.json").read_text())
    (block / "meta.json").write_text(json.dumps({**right, key: value}))
    mend(store, problem)
    mended = json.loads((block / "meta.json").read_text())
    assert {k: v for k, v in mended.items() if "Time" not in k} == {k: v for k, v in right.items() if "Time" not in k}
    assert_sound(store)


def test_times_of_other_spans_are_noted_by_a_deep_check_and_stay(store, block):
    """Ingesters write such times for late spans, and retention goes by them."""
    meta = json.loads((block / "meta.json").read_text())
    meta.update(startTime="2001-01-01T00:00:00Z", endTime="2001-01-01T01:00:00Z")
    (block / "meta.json").write_text(json.dumps(meta))
    run("--path", store, "verify", "--repair", code=None)  # the tenant index
    for arguments in (["--deep"], ["--deep", "--repair"]):
        assert [(problem, found["severity"]) for problem, found in findings(store, *arguments).items()] == [("times", "note")]
    assert json.loads((block / "meta.json").read_text()) == meta


def test_damaged_meta_is_taken_from_the_tenant_index(store, block):
    meta = (block / "meta.json").read_bytes()
    (block / "meta.json").write_bytes(meta[:100])
    assert as_json("--path", store, "tenants")["tenants"][0]["blocks"] == 1, "the index still knows it"
    mend(store, "meta")
    assert (block / "meta.json").read_bytes() == meta
    assert_sound(store)


def test_lost_meta_is_taken_from_the_tenant_index(store, block):
    meta = (block / "meta.json").read_bytes()
    (block / "meta.json").unlink()
    mend(store, "meta")
    assert (block / "meta.json").read_bytes() == meta
    assert_sound(store)


def test_damaged_meta_without_an_index_stays(store, block):
    (block / "meta.json").write_bytes(b"{}")
    for name in ("index.pb.zst", "index.json.gz"):
        (store / TENANT / name).unlink()
    assert findings(store, code=DAMAGE)["meta"]["severity"] == "damage"
    assert "repair" not in findings(store, "--repair", code=DAMAGE)["meta"]
    assert as_json("--path", store, "tenants")["tenants"][0]["unreadableBlocks"] == 1


def test_copied_tenant_is_not_repaired_into_the_original(store, block):
    shutil.copytree(store / TENANT, store / "copy")
    # Then retention deletes the block of the original.
    (block / "meta.json").rename(block / "meta.compacted.json")
    index = (store / "copy" / "index.pb.zst").read_bytes()
    for arguments in ([], ["--repair"]):
        assert "repair" not in findings(store, "copy", *arguments, code=DAMAGE)["meta"]
    assert not (block / "meta.json").exists()
    assert (store / "copy" / "index.pb.zst").read_bytes() == index


def test_place_without_tenants_is_not_sound(tmp_path):
    (tmp_path / "lost+found").mkdir()
    assert "no tenant" in run("--path", tmp_path, "verify", code=1)


def test_sick_disk_hides_no_damage_and_no_repair(tmp_path):
    disk = FaultyDisk(tmp_path)
    store = copy_of("vParquet4", disk.path / "store")
    shutil.copytree(copy_of("vParquet5", tmp_path / "v5") / TENANT / V5, store / TENANT / V5)
    (store / TENANT / V5 / "bloom-0").unlink()
    environment = {**os.environ, **disk.env, "DISK_FAULTS_BELOW": str(store / TENANT / V4)}
    disk.set(READS, error=5)

    def verify(*arguments):
        done = subprocess.run(
            [binary(), "--path", store, "--json", "verify", *arguments], capture_output=True, text=True, timeout=60, env=environment)
        (tenant,) = json.loads(done.stdout)["tenants"]
        return done.returncode, {(f.get("block"), f["problem"]): f for f in tenant["findings"]}

    code, found = verify()
    assert code == DAMAGE and {(V4, "failed"), (V5, "bloom")} <= found.keys() and found[V4, "failed"]["severity"] == "unknown"
    code, found = verify("--repair")
    assert code != 0 and "repair" in found[V5, "bloom"] and (store / TENANT / V5 / "bloom-0").exists()
    # Without damage elsewhere, it is not known whether there is any.
    assert verify(TENANT, V4)[0] == 1


def test_tenant_index_in_json_alone_is_noted(store):
    """Tempo before 2.7 writes no other one."""
    (store / TENANT / "index.pb.zst").unlink()
    os.utime(store / TENANT / V4 / "meta.json", (1_700_000_000, 1_700_000_000))
    for arguments in ([], ["--repair"]):
        assert findings(store, *arguments)["tenant-index"]["severity"] == "note"
    assert not (store / TENANT / "index.pb.zst").exists()


@pytest.mark.parametrize(("name", "damage"), [("index.pb.zst", "cut"), ("index.json.gz", "cut"), ("index.json.gz", "missing")])
def test_tenant_index_is_written_anew(store, name, damage):
    file = store / TENANT / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:50])
    else:
        file.unlink()
        # A block of a running server may be younger than the next index.
        os.utime(store / TENANT / V4 / "meta.json", (1_700_000_000, 1_700_000_000))
    mend(store, "tenant-index")
    assert_sound(store)


def test_tenant_index_that_misses_a_block_is_found(store):
    second = store / TENANT / V5
    shutil.copytree(copy_of("vParquet5", store.parent / "v5") / TENANT / V5, second)
    os.utime(second / "meta.json", (1_600_000_000, 1_600_000_000))
    assert V5 in findings(store, code=DAMAGE)["tenant-index"]["what"]
    mend(store, "tenant-index")
    assert as_json("--path", store, "tenants")["tenants"][0]["blocks"] == 2


def test_tenant_index_that_nobody_writes_any_more_is_found(store, block):
    later = time.time() - 3600
    meta = json.loads((block / "meta.json").read_text())
    (block / "meta.json").write_text(json.dumps({**meta, "compactionLevel": 1}))
    assert "tenant-index" not in findings(store), "the next one will have it"
    os.utime(block / "meta.json", (later, later))
    mend(store, "tenant-index")
    assert_sound(store)


def assert_set_aside(store, block):
    assert json.loads((block / "meta.json").read_text())["format"] == "vParquet4-damaged-preview"
    assert findings(store)["set-aside"]["severity"] == "note"


@pytest.mark.parametrize("keep", [0, 1000, 103_000])
def test_truncated_data_is_set_aside(store, block, keep):
    data = (block / "data.parquet").read_bytes()[:keep]
    (block / "data.parquet").write_bytes(data)
    mend(store, "data-unreadable")
    assert (block / "data.parquet").read_bytes() == data, "nothing is deleted"
    assert_set_aside(store, block)
    assert as_json("--path", store, "query", TENANT, "{}")["traces"] == []


def test_missing_data_is_set_aside(store, block):
    (block / "data.parquet").unlink()
    meta = (block / "meta.json").read_text()
    mend(store, "data-missing")
    assert_set_aside(store, block)
    assert (block / "meta.json").read_text() == meta.replace("vParquet4", "vParquet4-damaged-preview"), "easily undone"


def test_flipped_bits_cost_only_what_they_hit(store, block):
    whole = (block / "data.parquet").read_bytes()
    # In a page of the first of three row groups: not every byte there is one that readers look at.
    for at in range(1_000, 8_000, 97):
        data = bytearray(whole)
        data[at] ^= 0xff
        (block / "data.parquet").write_bytes(data)
        if as_json("--path", store, "verify", "--deep", code=None)["damage"]:
            break
    assert findings(store) == {}, "the footer does not show it"
    before = findings(store, TENANT, V4, "--deep", code=DAMAGE)["data-damaged"]
    assert "row group 0" in before["what"]
    did = findings(store, "--deep", "--repair")["data-damaged"]["repair"]
    saved, lost = map(int, re.search(r"(\d+) traces saved .* (\d+) cannot", did).groups())
    assert saved + lost == 64 and saved >= 35
    assert (block / "data.parquet").read_bytes() == data
    assert_set_aside(store, block)
    assert_sound(store, traces=saved)


def test_repair_needs_no_temporary_directory(store, block, tmp_path):
    data = bytearray((block / "data.parquet").read_bytes())
    data[600:700] = bytes(100)
    (block / "data.parquet").write_bytes(data)
    done = subprocess.run(
        [binary(), "--path", store, "--json", "verify", "--deep", "--repair"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path / "nowhere")})
    assert (done.returncode, done.stderr) == (0, "") and json.loads(done.stdout)["repaired"] > 0, done


def test_analyse_leaves_out_a_damaged_block(store, block):
    shutil.copytree(copy_of("vParquet5", store.parent / "v5") / TENANT / V5, store / TENANT / V5)
    (block / "data.parquet").write_bytes(b"PAR1")
    found = as_json("--path", store, "analyse", TENANT)
    assert (found["blocks"], found["unreadable"]) == ([V5], [V4])
    assert f"1 block cannot be read (see verify): {V4}" in run("--path", store, "analyse", TENANT)


def test_flipped_bits_anywhere_never_crash_the_tool(store, block):
    data = (block / "data.parquet").read_bytes()
    for at in range(10, len(data), len(data) // 40):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        (block / "data.parquet").write_bytes(flipped)
        done = subprocess.run(
            [binary(), "--path", str(store), "verify", "--deep"], capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, DAMAGE) and "panicked" not in done.stderr, (at, done.stderr)


def test_leftovers_are_noted_and_stay(store):
    other = store / TENANT / str(uuid.uuid4())
    other.mkdir()
    (other / "data.parquet").write_bytes(b"half a block")
    assert findings(store, "--repair")["leftover"]["severity"] == "note"
    assert (other / "data.parquet").exists()


def test_directories_without_files_are_no_damage(store):
    (store / "lost+found").mkdir()
    assert_sound(store)


def test_blocks_of_other_versions_are_noted(store, block):
    meta = json.loads((block / "meta.json").read_text())
    (block / "meta.json").write_text(json.dumps({**meta, "format": "v2"}))
    assert findings(store)["version"]["severity"] == "note"
    for name in ("index.pb.zst", "index.json.gz"):
        (store / TENANT / name).unlink()
    assert "incomplete: 1 block set aside or of a version that is not read" in run("--path", store, "query", TENANT, "{}")
    assert "not everything was read: 1 block set aside or" in run("--path", store, "trace", TENANT, SHOP, code=1)


# --- writing blocks anew ---------------------------------------------------------------------------------------------


def live_blocks(store):
    return {block["blockID"]: block for block in as_json("--path", store, "blocks", TENANT)["blocks"]}


def spans_of(store, trace_id):
    """Spans of a trace by id, without the order of their groups."""
    groups = as_json("--path", store, "trace", TENANT, trace_id)["trace"]["resourceSpans"]
    return sorted(
        json.dumps({**span, "attributes": sorted(span.get("attributes", []), key=lambda a: a["key"])}, sort_keys=True)
        for group in groups for scope in group["scopeSpans"] for span in scope["spans"])


@pytest.mark.parametrize(("version", "to"), [("vParquet4", "vParquet5"), ("vParquet5", "vParquet4"), ("vParquet4", "vParquet4")])
def test_converted_block_holds_the_same(tmp_path, version, to):
    store = copy_of(version, tmp_path / "store")
    block = {"vParquet4": V4, "vParquet5": V5}[version]
    before = {trace: spans_of(store, trace) for trace in (SHOP, "f" * 32, "463ac35c9f6413ad")}
    columns = ["--columns", "span.customer,resource.ip"]
    report = as_json("--path", store, "convert", TENANT, block, "--to", to, *columns)
    assert (report["block"]["format"], report["traces"], report["spans"]) == (to, 64, 252)
    assert list(live_blocks(store)) == [report["block"]["blockID"]]
    assert {trace: spans_of(store, trace) for trace in before} == before
    findings(store, "--deep", "--repair")
    assert_sound(store)
    assert "compacted away" in run("--path", store, "convert", TENANT, block, "--to", to, code=1)


@pytest.mark.parametrize("column", ["span.n:int", "event.retry", "span.customer:blob", "span.http.url"])
def test_columns_that_a_version_cannot_have_are_refused(store, column):
    says = run("--path", store, "convert", TENANT, V4, "--columns", column, code=2)
    assert column.split(":")[0] in says and list(live_blocks(store)) == [V4]


def test_rewritten_blocks_become_one_with_each_span_once(store):
    copied = copy_of("vParquet5", store.parent / "v5") / TENANT / V5
    shutil.copytree(copied, store / TENANT / V5)
    report = as_json("--path", store, "rewrite", TENANT, V4, V5)
    assert (report["traces"], report["spans"], report["duplicateSpans"]) == (64, 252, 252)
    (block,) = live_blocks(store).values()
    assert block["compactionLevel"] == 1 and block["totalObjects"] == 64
    findings(store, "--repair")
    assert_sound(store)


def test_deleted_trace_is_gone_and_on_record(store):
    delete = ["--path", store, "delete", TENANT, "--trace", SHOP, "1234"]
    (preview,) = as_json(*delete)["blocks"]
    assert (preview["block"], preview["traces"], preview["spans"]) == (V4, 1, 4)
    assert "add --yes" in run(*delete) and list(live_blocks(store)) == [V4]
    record = as_json(*delete, "--yes", "--reason", "asked for", "--requested-by", "me")
    assert (record["request"]["reason"], record["request"]["requestedBy"]) == ("asked for", "me")
    (change,) = record["blocks"]
    assert (change["block"], change["tracesDeleted"], change["spansDeleted"]) == (V4, 1, 4)
    assert list(live_blocks(store)) == [change["replacedBy"]]
    assert [file for file in store.iterdir() if record["id"] in file.name], "the record is in the bucket"
    assert "no such trace" in run("--path", store, "trace", TENANT, SHOP, code=1)
    assert "nothing to do" in run(*delete)
    findings(store, "--repair")
    assert_sound(store, traces=63)


def test_deleted_trace_does_not_come_back_from_a_block_that_was_not_marked(store):
    run("--path", store, "convert", TENANT, V4, "--to", "vParquet5")
    old = store / TENANT / V4
    # As a process leaves it that is killed right before it marks what it has written anew.
    (old / "meta.compacted.json").rename(old / "meta.json")
    assert len(as_json("--path", store, "delete", TENANT, "--trace", SHOP)["blocks"]) == 1
    run("--path", store, "delete", TENANT, "--trace", SHOP, "--yes")
    assert "no such trace" in run("--path", store, "trace", TENANT, SHOP, code=1)


def test_redacted_values_are_gone(store):
    redact = ["--path", store, "redact", TENANT, "--attribute", "span.customer", "--action"]
    assert as_json(*redact, "hash")["blocks"][0]["values"] == 241
    only = ["--query", '{ span.customer = "cust-1" }']
    assert as_json(*redact, "replace=x", *only)["blocks"][0]["values"] == 48
    assert as_json(*redact, "replace=x", *only, "--yes")["blocks"][0]["valuesRedacted"] == 48
    query = ["--path", store, "query", TENANT, "--limit", 100]
    assert len(as_json(*query, '{ span.customer = "x" }')["traces"]) == 12
    assert as_json(*query, '{ span.customer = "cust-1" }')["traces"] == []
    as_json(*redact, "remove", "--yes")
    assert as_json(*query, "{ span.customer != nil }")["traces"] == []


@pytest.mark.parametrize("arguments", [
    ["--attribute", "customer", "--action", "hash"],
    ["--attribute", "nowhere.customer", "--action", "hash"],
    ["--attribute", "span.customer", "--action", "burn"],
    ["--attribute", "span.customer", "--action", "hash", "--query", "{"],
])
def test_wrong_redactions_are_wrong_usage(samples, arguments):
    store, _ = samples["vParquet4"]
    run("--path", store, "redact", TENANT, *arguments, code=2)


# --- beside a server -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tactus):
    """A server with a flushed trace and a recent one: server, id of each."""
    flushed = otlp.push_trace(tactus, spans=4, service="shop")
    eventually(lambda: tactus.trace(flushed), "the trace is found")
    tactus.flush()
    eventually(tactus.block_directories, "the block is written")
    recent = otlp.push_trace(tactus, spans=2, service="till")
    eventually(lambda: tactus.trace(recent), "the recent trace is found")
    return tactus, flushed, recent


def test_store_of_a_server_by_its_configuration(filled):
    server, flushed, recent = filled
    config = ["-c", server.directory / "tactus.yaml"]
    assert "spans: 4" in run(*config, "trace", TENANT, flushed)
    assert "no such trace" in run(*config, "trace", TENANT, recent, code=1)
    assert len(as_json(*config, "query", TENANT, '{ resource.service.name = "shop" }')["traces"]) == 1
    report = as_json(*config, "verify", "--deep")
    assert report["damage"] == 0 and report["blocks"] >= 1


def test_bucket_of_a_server_by_its_configuration(servers, bucket):
    server = servers.start(config=bucket.config())
    flushed = otlp.push_trace(server, spans=4)
    eventually(lambda: server.trace(flushed), "the trace is found")
    server.flush()
    eventually(bucket.blocks, "the block is in the bucket")
    config = ["-c", server.directory / "tactus.yaml"]
    assert "spans: 4" in run(*config, "trace", TENANT, flushed)
    (block,) = bucket.blocks()
    assert as_json(*config, "block", TENANT, block)["meta"]["totalObjects"] == 1
    assert as_json(*config, "verify", "--deep")["damage"] == 0
    index = bucket.get(f"{TENANT}/{block}/index")
    bucket.put(f"{TENANT}/{block}/index", b"nonsense")
    report = as_json(*config, "verify", "--deep", "--repair")
    assert "index" in {f["problem"] for t in report["tenants"] for f in t["findings"] if "repair" in f}
    assert bucket.get(f"{TENANT}/{block}/index") == index


def test_wrong_bucket_is_explained(bucket, tmp_path):
    config = bucket.config()
    config["storage"]["trace"]["s3"]["bucket"] = "no-such-bucket"
    (tmp_path / "tactus.yaml").write_text(yaml.safe_dump(config))
    says = run("-c", tmp_path / "tactus.yaml", "tenants", code=1)
    assert 'storage.trace.s3.bucket: the bucket "no-such-bucket" does not exist' in says


def test_deletion_beside_a_server_is_its_compactors_job(servers):
    server = servers.start(config={"compactor": {"jobs": {"api_enabled": True}}})
    deleted, kept = otlp.push_trace(server, spans=4), otlp.push_trace(server, spans=3)
    eventually(lambda: server.trace(deleted) and server.trace(kept), "the traces are found")
    server.flush()
    eventually(server.block_directories, "the block is written")
    record = as_json("-c", server.directory / "tactus.yaml", "delete", TENANT, "--trace", deleted, "--yes")
    assert record["blocks"][0]["spansDeleted"] == 4
    eventually(lambda: server.trace(deleted) is None, "the trace is gone from the server")
    assert len(server.trace(kept)) == 3
    assert record["id"] in server.get("/api/jobs").text


def test_api_shows_what_the_server_knows(filled):
    server, _, recent = filled
    url = ["--url", server.url]
    text = run("api", "trace", *url, recent)
    assert re.search(r"till +└─ child-1", text) and "spans: 2" in text
    assert recent in run("api", "search", *url, '{ resource.service.name = "till" }', "--since", "1h")
    series = as_json("api", "metrics", *url, "{} | count_over_time()", "--since", "10m")["series"]
    assert sum(sample.get("value", 0) for one in series for sample in one["samples"]) == 6
    assert "SERIES" in run("api", "metrics", *url, "{} | rate()")
    assert "no such trace" in run("api", "trace", *url, "1234", code=1)
    assert "400" in run("api", "search", *url, "{", code=2)
    assert "404" in run("api", "search", "--url", server.url + "/nowhere", "{}", code=1)


def test_api_names_its_tenant(servers):
    server = servers.start(config={"multitenancy_enabled": True})
    request = otlp.export(*otlp.trace(), service="shop").SerializeToString()
    assert server.push(request, headers={"X-Scope-OrgID": "acme"}).status_code == 200
    search = ["api", "search", "--url", server.url, "--since", "1h", '{ resource.service.name = "shop" }']
    assert "401" in run(*search, code=1)
    eventually(lambda: len(as_json(*search, "--org-id", "acme")["traces"]) == 1, "the tenant's trace is found")
    assert as_json(*search, "--header", "X-Scope-OrgID: other")["traces"] == []


# --- documentation ---------------------------------------------------------------------------------------------------


def test_examples_of_the_page_run(servers):
    """In order, each in a shell of its own, on a store with the vParquet4 sample."""
    # The spans of the sample are old.
    server = servers.new(config={"compactor": {"compaction": {"block_retention": "999999h"}}})
    copy_of("vParquet4", server.blocks)
    server.start()
    page = (REPOSITORY / "docs" / "tactusctl.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) > 20
    programs = server.directory / "bin"
    programs.mkdir()
    (programs / "tactusctl").symlink_to(binary())
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TACTUS_URL": server.url, "TACTUS_PUSH_URL": server.otlp_url}
    places = {
        "http://127.0.0.1:3200": server.url, "http://tempo:3200": server.url,
        "grpc://tempo:4317": f"grpc://127.0.0.1:{server.otlp_grpc_port}"}
    foreign = server.directory / "migrate"
    foreign.mkdir()
    (foreign / "tempo.yaml").write_text(
        "storage: {trace: {backend: s3, s3: {bucket: b, endpoint: s3.local, access_key: a, secret_key: '${S3_KEY}'}}}\n"
        "querier: {frontend_worker: {frontend_address: 'query-frontend:9095'}}\n")
    (foreign / "overrides.yaml").write_text("overrides: {team-a: {max_traces_per_user: 7}}\n")
    shutil.copy(REPOSITORY / "integration-tests/migrate/values/distributed-s3-secrets.yaml", foreign / "tempo-values.yaml")
    for command in commands:
        if "--continuous" in command:
            continue  # it goes on until it is told to end: test_checker.py
        for place, real in places.items():
            command = command.replace(place, real)
        migrates = command.startswith("tactusctl migrate")
        done = subprocess.run(
            ["bash", "-c", command], cwd=foreign if migrates else server.directory, env=environment, capture_output=True,
            text=True, timeout=120)
        # 3: there is something to look at.
        assert done.returncode in ((0, 3) if migrates else (0,)) and done.stderr == "", (command, done.stdout, done.stderr)
