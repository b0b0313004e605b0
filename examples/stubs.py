"""Makes the Python stubs of proto/perennial.proto when they are imported for the first time."""

import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parent.parent / "proto"


def perennial():
    """The modules perennial_pb2 and perennial_pb2_grpc, compiled into a temporary folder."""
    folder = tempfile.mkdtemp(prefix="perennial-stubs-")
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    failed = protoc.main(
        ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={folder}",
         f"--grpc_python_out={folder}", "perennial.proto"]
    )
    if failed:
        raise RuntimeError("perennial.proto does not compile")
    sys.path.insert(0, folder)
    return importlib.import_module("perennial_pb2"), importlib.import_module("perennial_pb2_grpc")
