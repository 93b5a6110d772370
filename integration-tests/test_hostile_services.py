"""Messages of a stranger at the port on which services call each other: small as they come, and many times as large once decoded."""
import time

import grpc
import pytest

from harness import otlp
from harness.protobuf import field

# Of a message of this length.
BYTES, MOST_PEAK, MOST_SECONDS = 8 << 20, 100 << 20, 20
TENANT, QUERY, SERIES = field(1, b"single-tenant"), field(2, b"{ }"), field(2, b"{ } | rate()")


@pytest.fixture(scope="module")
def port(tactus):
    with grpc.insecure_channel(f"127.0.0.1:{tactus.grpc_port}", [("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def many(number, inner=b""):
    one = field(number, inner)
    return one * (BYTES // len(one))


@pytest.mark.parametrize(("method", "message"), [
    ("Ingester/Push", TENANT + many(4)), ("Ingester/Push", TENANT + many(2)),
    ("Ingester/Search", TENANT + QUERY + many(13)), ("Ingester/Search", TENANT + QUERY + field(13, many(5))),
    ("Ingester/TagValues", TENANT + field(2, b"name") + many(8)),
    ("Ingester/Metrics", TENANT + SERIES + many(12)), ("Ingester/Metrics", TENANT + SERIES + many(11)),
], ids=["runs", "resources", "holders", "kept traces", "tags", "stored traces", "times of blocks"])
def test_message_of_empty_parts_is_refused_before_it_is_decoded(tactus, port, method, message):
    tactus.forget_peak()
    before = tactus.resident_bytes()
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as refused:
        identity = lambda body: body  # noqa: E731
        port.unary_unary(f"/tactus.v1.{method}", identity, identity)(message, timeout=60)
    assert "would take more than 4 times as many" in refused.value.details()
    assert time.monotonic() - began < MOST_SECONDS
    peak = tactus.peak_resident_bytes()
    print(f"{(peak - before) >> 20} MiB more")
    assert peak < before + MOST_PEAK, f"{peak >> 20} MiB"
    tactus.must_push(otlp.export(otlp.span()))
