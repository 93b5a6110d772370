"""Places of the checkout."""
import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
INTEGRATION_TESTS = REPOSITORY / "integration-tests"
# What `make test-tools` builds.
CACHE = INTEGRATION_TESTS / ".cache"
CONFORMANCE = REPOSITORY / "conformance"
BENCH = REPOSITORY / "bench"


def tactus_binary():
    """The server under test: TACTUS_BIN, else what `cargo build` leaves."""
    given = os.environ.get("TACTUS_BIN")
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    binary = pathlib.Path(given) if given else pathlib.Path(target) / "debug" / "tactus"
    binary = (REPOSITORY / binary).resolve()
    if not binary.is_file():
        raise FileNotFoundError(f"{binary}: build it with `make build` or name it with TACTUS_BIN")
    return str(binary)


def example_binary(name):
    """A small program of the workspace, built beside the server."""
    path = pathlib.Path(tactus_binary()).parent / "examples" / name
    assert path.is_file(), f"{path} is not built: make build"
    return path
