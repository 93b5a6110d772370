#!/usr/bin/env python3
"""Measures what the metrics generator costs: the paced run of scripts/bench.py without it and with processors, and the
memory of a series. Runs without and with all processors take turns, so that a machine that gets slower slows both.

    scripts/bench_generator.py [--traces 110000] [--rate 40000] [--seconds 50] [--rounds 2] [--names 20000]

Needs what scripts/bench.py needs. Series go to a receiver that takes them and looks at nothing."""
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import CONFIG, paced_parser, prepare, send, stored_bytes  # noqa: E402
from harness import otlp  # noqa: E402
from harness.paths import REPOSITORY  # noqa: E402
from harness.prometheus import Receiver  # noqa: E402
from harness.server import Tactus, merge  # noqa: E402
from harness.waiting import eventually  # noqa: E402

ALL = ["span-metrics", "service-graphs", "host-info"]


class Counting(Receiver):
    """Keeps nothing."""

    bytes = 0

    def take(self, headers, body):
        self.bytes += len(body)
        return 200, {}


def config(directory, url, processors):
    generator = {
        "storage": {"path": str(pathlib.Path(directory) / "generator"), "remote_write": [{"url": url}]},
        # The load's times are as old as it is.
        "metrics_ingestion_time_range_slack": "87600h",
    }
    limits = {"defaults": {"metrics_generator": {"processors": processors}}}
    return merge(CONFIG, {"metrics_generator": generator, "overrides": limits} if processors else {})


def paced(arguments, load, sender, processors):
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as folder:
        receiver = Counting()
        server = Tactus(folder, config=config(folder, receiver.write_url, processors)).start()
        try:
            figures = send(server, load, sender, 2, arguments.seconds, arguments.rate)
            counted = server.metric("tempo_metrics_generator_spans_received_total")
            assert not processors or counted == figures["spans"], "the queue was full: a slower rate tells more"
            figures["series"] = int(server.metric("tempo_metrics_generator_registry_active_series"))
            figures["stored"] = stored_bytes(server)
            figures["sent"] = receiver.bytes
            return figures
        finally:
            server.close()
            receiver.close()


def series(names):
    """Bytes of resident memory a series of span-metrics, and milliseconds of a collection."""
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as folder:
        receiver = Counting()
        server = Tactus(folder, config=config(folder, receiver.write_url, ["span-metrics"])).start()
        try:
            server.must_push(otlp.export(otlp.span()))
            eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") == 1, "the first span")
            time.sleep(2)
            before = server.resident_bytes()
            for first in range(0, names, 1000):
                server.must_push(otlp.export(*(otlp.span(name=f"GET /customers/{n}/orders") for n in range(first, first + 1000))))
            eventually(lambda: server.metric("tempo_metrics_generator_spans_received_total") > names, "all spans", 60)
            server.flush()
            # Two collections, and what they needed for a moment is given back.
            time.sleep(45)
            active = server.metric("tempo_metrics_generator_registry_active_series")
            return int(active), (server.resident_bytes() - before) / active
        finally:
            server.close()
            receiver.close()


def main():
    parser = paced_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="runs without and with all processors")
    parser.add_argument("--names", type=int, default=20_000, help="span names of the memory run")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    print("| processors | CPU to storage (s a million spans) | until the answer | series | remote write | peak MiB |\n|---|---|---|---|---|---|")
    for processors in [[], ALL] * arguments.rounds + [ALL[:1], ALL[1:2]]:
        name = ", ".join(processors) or "none"
        f = paced(arguments, load, sender, processors)
        print(f"| {name} | {f['CPU to storage']:.2f} | {f['CPU to the answer']:.2f} | {f['series']} | {f['sent'] / 1e6:.1f} MB | {f['peak MiB']} |",
              flush=True)
    active, each = series(arguments.names)
    print(f"\n{active} series: {each:.0f} bytes of memory each")


if __name__ == "__main__":
    main()
