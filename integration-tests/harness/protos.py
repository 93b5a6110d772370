"""Python modules of .proto files."""
import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

from .paths import REPOSITORY


def compile_protos(*paths, stubs=False):
    """path -> its module of messages, and with `stubs` also that of its services. The OTLP parts are those of the installed package."""
    # The well-known types come with grpc_tools.
    includes = [pathlib.Path(protoc.__file__).parent / "_proto", REPOSITORY / "proto"]
    with tempfile.TemporaryDirectory(prefix="protos-") as directory:
        outputs = [f"--python_out={directory}", *([f"--grpc_python_out={directory}"] if stubs else [])]
        assert protoc.main(["protoc", *(f"-I{folder}" for folder in includes), *outputs, *paths]) == 0, f"{paths} do not compile"
        sys.path.insert(0, directory)
        try:
            return {path: load(path, stubs) for path in paths}
        finally:
            sys.path.remove(directory)


def load(path, stubs):
    name = path.removesuffix(".proto").replace("/", ".")
    messages = importlib.import_module(f"{name}_pb2")
    return (messages, importlib.import_module(f"{name}_pb2_grpc")) if stubs else messages
