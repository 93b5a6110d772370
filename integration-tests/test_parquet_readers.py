"""Blocks are Parquet files: a reader that shares no code with ours finds in them what was pushed."""
import duckdb
import pytest

from harness import otlp
from harness.waiting import eventually

# Several row groups, whose columns lie together.
CONFIG = {
    "compactor": {"disabled": True},
    "storage": {"trace": {"block": {"parquet_row_group_size_bytes": 40_000}}},
}
TRACES, SPANS = 48, 25
# Of each service in a trace: so few that levels are packed in bits, or so many that they are runs.
SPANS_OF_SERVICE = (2, 25)

ALL_SPANS = """
    WITH resources AS (SELECT TraceID, unnest(rs) AS resource FROM '{file}'),
    scopes AS (SELECT TraceID, resource.Resource.ServiceName AS service, unnest(resource.ss) AS scope FROM resources),
    spans AS (SELECT TraceID, service, unnest(scope.Spans) AS span FROM scopes)
    SELECT hex(TraceID), hex(span.SpanID), service, span.Name, span.StartTimeUnixNano, span.DurationNano FROM spans
"""


@pytest.mark.parametrize("together", SPANS_OF_SERVICE)
def test_duckdb_reads_every_span_of_a_block(servers, together):
    server = servers.start(config=CONFIG)
    pushed = set()
    for number in range(TRACES):
        spans = otlp.trace(SPANS, attributes={"padding": f"{number:060}"})
        for i, span in enumerate(spans):
            span.attributes.extend(otlp.key_values({"order.id": f"order-{number:03}-{i:03}"}))
            service = f"service-{number % 4}-{i // together}"
            pushed.add((span.trace_id.hex().upper(), span.span_id.hex().upper(), service, span.name,
                        span.start_time_unix_nano, span.end_time_unix_nano - span.start_time_unix_nano))
        for part in range(0, SPANS, together):
            service = f"service-{number % 4}-{part // together}"
            server.must_push(otlp.export(*spans[part:part + together], service=service))
    server.flush()
    (file,) = eventually(lambda: list(server.blocks.glob("single-tenant/*/data.parquet")), "a block")
    database = duckdb.connect()
    row_groups = database.execute(f"SELECT num_row_groups FROM parquet_file_metadata('{file}')").fetchone()[0]
    assert row_groups >= 4
    assert set(database.execute(ALL_SPANS.format(file=file)).fetchall()) == pushed
