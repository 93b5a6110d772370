"""How large a cluster has to be: `sizing.py --spans 100000 --retention-days 14`.

The constants are measured (docs/benchmarks.md) or defaults of the configuration (docs/configuration.md); a test compares them with
those pages. The result is where to begin: then go by the metrics that docs/operations/sizing.md names."""
import argparse
import math

MIB = 1 << 20
GIB = 1 << 30
# Core-seconds a million spans.
DISTRIBUTOR_CPU = 1.74
INGESTER_CPU = 3.4
COMPACTION_CPU = 2.04
# Times that a span is read by merges after the first, which reads every copy.
LATER_MERGES = 2
STORED_BYTES = 49.7
# Bytes of an upload's part, the default; other requests that write a block of an ingester, of 524 MB at most, in parts.
PART_BYTES = 8 * MIB
BLOCK_BYTES = 524_288_000
BLOCK_WRITES = 7
# Bytes that a compactor reads by a request.
MERGE_READ_BYTES = 2.3e6
# Bytes of a span on an ingester's disk, beside its OTLP bytes in the log until the next cut.
SEGMENT_BYTES = 140
LIVE_BYTES = 160 * MIB
INGESTER_MEMORY = 250 * MIB
JOB_MEMORY = 1 * GIB
COMPACTION_MEMORY = 256 * MIB
SERVICE_MEMORY = 300 * MIB
# A container's limit is the memory that is planned, and a quarter.
RESERVE = 1.25


def cores(spans, seconds_a_million, peak):
    return spans * peak * seconds_a_million / 1e6


def instances(needed, each, least):
    """How many of `each` cores give the cores needed."""
    return max(least, math.ceil(needed / each))


def plan(spans, bytes_a_span, retention_days, replication, peak, cores_each, query_cores, outage_hours):
    """Rows: service, how many, cores of each, memory of each in bytes, disk of each in bytes."""
    of_distributors = cores(spans, DISTRIBUTOR_CPU, peak)
    of_ingesters = cores(spans * replication, INGESTER_CPU, peak)
    of_compactors = cores(spans * (replication + LATER_MERGES), COMPACTION_CPU, 1)
    ingesters = instances(of_ingesters, cores_each, replication)
    # Spans lie on disk for an hour (two times max_block_duration), or for as long as the bucket may be away.
    seconds = max(1, outage_hours) * 3600
    disk = spans * replication / ingesters * (SEGMENT_BYTES * seconds + bytes_a_span * 600)
    column_cache = 1 * GIB
    return [
        ("distributor", instances(of_distributors, cores_each, 2), cores_each, SERVICE_MEMORY, 0),
        ("ingester", ingesters, cores_each, LIVE_BYTES + INGESTER_MEMORY, disk),
        ("query-frontend", 2, 1, 1 * GIB, 0),
        ("querier", instances(query_cores, cores_each, 2), cores_each, JOB_MEMORY + column_cache + SERVICE_MEMORY, 0),
        ("compactor", instances(of_compactors, cores_each, 1), cores_each, COMPACTION_MEMORY + SERVICE_MEMORY, 0),
    ], spans * 86_400 * retention_days * STORED_BYTES


def requests_a_day(spans, replication):
    """Requests to the bucket that write, and those of compactors that read, in a day."""
    merged = spans * 86_400 * STORED_BYTES
    written, read = merged * (replication + 1 + LATER_MERGES), merged * (replication + LATER_MERGES)
    return written / PART_BYTES * (1 + BLOCK_WRITES * PART_BYTES / BLOCK_BYTES), read / MERGE_READ_BYTES


def amount(value):
    """Bytes for people."""
    for unit, size in (("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return "-" if not value else f"{value:.0f} B"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=float, required=True, help="received spans a second, on average")
    parser.add_argument("--bytes-a-span", type=float, default=236, help="OTLP bytes (236, of the benchmark's load)")
    parser.add_argument("--retention-days", type=float, default=14)
    parser.add_argument("--replication", type=int, default=3, help="copies until a block is written (3)")
    parser.add_argument("--peak", type=float, default=2, help="the highest rate, in averages (2)")
    parser.add_argument("--cores-each", type=float, default=2, help="cores of an instance (2)")
    parser.add_argument("--query-cores", type=float, default=4, help="cores that queries may use (4)")
    parser.add_argument("--outage-hours", type=float, default=1, help="how long the bucket may be away (1)")
    parser.add_argument("--price-gigabyte-month", type=float, default=0.023, help="of the bucket (0.023)")
    parser.add_argument("--price-million-writes", type=float, default=5, help="requests that write (5)")
    parser.add_argument("--price-million-reads", type=float, default=0.4, help="requests that read (0.4)")
    parser.add_argument("--price-core-hour", type=float, default=0.04, help="of a core with its memory (0.04)")
    given = vars(parser.parse_args(arguments))
    prices = {name: given.pop(f"price_{name}") for name in ("gigabyte_month", "million_writes", "million_reads", "core_hour")}
    rows, bucket = plan(**given)
    print(f"{'service':15} {'count':>5} {'cores':>6} {'memory limit':>13} {'disk':>10}   (each)")
    for service, count, each, memory, disk in rows:
        print(f"{service:15} {count:>5} {each:>6g} {amount(memory * RESERVE):>13} {amount(disk):>10}")
    writes, reads = (count / 1e6 for count in requests_a_day(given["spans"], given["replication"]))
    rented = sum(count * each for _, count, each, *_ in rows)
    of_bucket = bucket / 1e9 * prices["gigabyte_month"] / 30
    of_requests = writes * prices["million_writes"] + reads * prices["million_reads"]
    of_cores = rented * 24 * prices["core_hour"]
    print(f"bucket: {amount(bucket)}")
    print(f"requests a day, without those of queries: {writes:.2f} million writes, {reads:.2f} million reads")
    print(f"dollars a day: bucket {of_bucket:.0f}, requests {of_requests:.0f}, {rented:g} cores {of_cores:.0f}")


if __name__ == "__main__":
    main()
