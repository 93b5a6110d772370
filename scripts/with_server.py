#!/usr/bin/env python3
"""Starts a server on free ports with a temporary directory, runs a command, stops the server.

    scripts/with_server.py -- COMMAND [ARGUMENT...]

The command finds TACTUS_URL, TACTUS_OTLP_URL, TACTUS_OTLP_GRPC (host:port), TACTUS_PID and TACTUS_DATA in its
environment. Its exit code is the result. The binary is TACTUS_BIN, else target/debug/tactus."""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration-tests"))
from harness.server import Tactus  # noqa: E402


def main():
    command = sys.argv[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="tactus-") as directory:
        server = Tactus(directory, config={
            "query_frontend": {"metrics": {"query_backend_after": "1s", "max_duration": "24h"}}}).start()
        try:
            done = subprocess.run(command, env={
                **os.environ, "TACTUS_URL": server.url, "TACTUS_OTLP_URL": server.otlp_url,
                "TACTUS_OTLP_GRPC": f"127.0.0.1:{server.otlp_grpc_port}", "TACTUS_PID": str(server.pid),
                "TACTUS_DATA": directory})
        finally:
            server.close()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
