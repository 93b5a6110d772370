#!/usr/bin/env python3
"""Compares the ingest of two builds of the server, side by side: what else the machine does, it does to both.

    scripts/bench_pair.py BEFORE SINCE [--traces 110000] [--rate 20000] [--seconds 25] [--rounds 4]

BEFORE and SINCE are programs. In each round both start on empty directories, and each gets the load of scripts/bench.py from a
sender of its own. Needs what that needs, but no idle machine: figures of a round differ less than those of runs in turn."""
import concurrent.futures
import pathlib
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench import CONFIG, paced_parser, prepare, send  # noqa: E402
from harness.paths import REPOSITORY  # noqa: E402
from harness.server import Tactus  # noqa: E402

FIGURES = ("CPU to the answer", "CPU to storage", "peak MiB")


class Build(Tactus):
    """A server of a program."""

    def __init__(self, binary, directory):
        super().__init__(directory, config=CONFIG)
        self.binary = binary

    def command(self):
        return [self.binary, *super().command()[1:]]


def measure(builds, load, sender, arguments):
    """Figures of each build, which get the load at the same time."""
    with tempfile.TemporaryDirectory(prefix="tactus-bench-") as folder:
        servers = [Build(build, pathlib.Path(folder) / str(number)) for number, build in enumerate(builds)]
        try:
            for server in servers:
                server.start()
            with concurrent.futures.ThreadPoolExecutor() as pool:
                runs = [pool.submit(send, server, load, sender, 2, arguments.seconds, arguments.rate) for server in servers]
                return [run.result() for run in runs]
        finally:
            for server in servers:
                server.close()


def main():
    parser = paced_parser(__doc__)
    parser.set_defaults(rate=20_000, seconds=25)
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("since", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    load, sender = prepare(REPOSITORY / "target" / "bench", arguments.traces)
    builds = [build.resolve(strict=True) for build in (arguments.before, arguments.since)]
    rounds = [measure(builds, load, sender, arguments) for _ in range(arguments.rounds)]
    print("| measure | before | since | since / before |\n|---|---|---|---|")
    for figure in FIGURES:
        before, since = ([pair[side][figure] for pair in rounds] for side in (0, 1))
        ratio = statistics.fmean(since) / statistics.fmean(before)
        shown = [", ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in values) for values in (before, since)]
        print(f"| {figure} | {shown[0]} | {shown[1]} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
