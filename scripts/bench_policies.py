#!/usr/bin/env python3
"""Measures what deciding costs: the paced run of scripts/bench.py with rules and policies, and the graph of services.

    scripts/bench_policies.py [--traces 110000] [--rate 40000] [--seconds 50] [--repeats 5]

Needs what scripts/bench.py needs."""
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import CONFIG, paced_parser, prepare, send, stored_bytes  # noqa: E402
from harness import dialects  # noqa: E402
from harness.paths import REPOSITORY  # noqa: E402
from harness.server import Tactus, merge  # noqa: E402

ERRORS = {"name": "errors", "type": "traceql", "traceql": {"query": "{ status = error }"}}
SHARE = {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 5}}
RUNS = {
    "nothing": {},
    "a drop rule that matches no span": {
        "distributor": {"drop_rules": [{"name": "checks", "query": '{ name = "/healthz" }', "action": "drop"}]}},
    "a hashed attribute": {
        "distributor": {"drop_rules": [{"name": "users", "action": "hash_attributes", "attributes": ["span.user.id"]}]}},
    "tail sampling, all kept": {"tail_sampling": {"decision_wait": "10s", "num_traces": 200_000, "policies": [
        {"name": "all", "type": "always_sample"}]}},
    "tail sampling, errors and 5 %": {
        "tail_sampling": {"decision_wait": "10s", "num_traces": 200_000, "policies": [ERRORS, SHARE]}},
}


def milliseconds(ask, repeats):
    """The median of several requests."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        answer = ask()
        assert answer.status_code == 200, answer.text[:500]
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def questions(server, window, repeats):
    """Median milliseconds of what Jaeger, Zipkin and the graph are asked."""
    start, end = window
    jaeger, zipkin = (f"http://127.0.0.1:{port}" for port in (server.ports.query_http, server.ports.zipkin))
    session, micros = server.session, {"start": start * 10**6, "end": end * 10**6}
    services = session.get(f"{jaeger}/api/services", timeout=60).json()["data"]
    service = {"service": services[0], "limit": 20}

    def get(url, **params):
        return lambda: session.get(url, params=params, timeout=120)

    asked = {
        "graph of services, every span": get(f"{server.url}/api/service-graph", start=start, end=end),
        "graph of services, edges with an error": get(
            f"{server.url}/api/service-graph", start=start, end=end, q="{ status = error }"),
        "Jaeger: services": get(f"{jaeger}/api/services"),
        "Jaeger: 20 traces of a service": get(f"{jaeger}/api/traces", **service, **micros),
        "Jaeger: 20 traces of a service with an error": get(f"{jaeger}/api/traces", **service, **micros, tags='{"error":"true"}'),
        "Zipkin: 20 traces of a service": get(
            f"{zipkin}/api/v2/traces", serviceName=services[0], limit=20, endTs=end * 1000, lookback=(end - start) * 1000),
    }
    return {name: milliseconds(ask, repeats) for name, ask in asked.items()}


def main():
    parser = paced_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="of each query")
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    answers = {}
    print("| with | CPU to storage (s a million spans) | to the answer | stored bytes a span sent | peak MiB |\n|---|---|---|---|---|")
    for name, extra in RUNS.items():
        with tempfile.TemporaryDirectory(prefix="tactus-bench-") as folder:
            ports = dialects.Ports()
            server = Tactus(folder, config=merge(merge(CONFIG, dialects.config(ports)), extra))
            server.ports = ports
            server.start()
            try:
                figures = send(server, load, sender, 2, arguments.seconds, arguments.rate)
                size = stored_bytes(server) / figures["spans"]
                if name == "nothing":
                    answers = questions(server, figures["window"], arguments.repeats)
            finally:
                server.close()
        print(f"| {name} | {figures['CPU to storage']:.2f} | {figures['CPU to the answer']:.2f} | {size:.1f} | {figures['peak MiB']} |",
              flush=True)
    print("\n| question (ms) | |\n|---|---|")
    for name, figure in answers.items():
        print(f"| {name} | {figure:.1f} |")


if __name__ == "__main__":
    main()
