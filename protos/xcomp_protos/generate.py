"""Generates the `*_pb2*` modules from the `.proto` files; `make stubs` runs it in an environment of its own.

The folder of the `.proto` files is mapped to the package's name (`-I xcomp_protos=protos`), so that the generated
imports read `from xcomp_protos import common_pb2`, and the files register under a name that no other package uses.
"""

import sys
from pathlib import Path

PROTOS = Path(__file__).resolve().parents[1]
MESSAGES = (f"--python_out={PROTOS}", f"--mypy_out=quiet:{PROTOS}")
SERVICES = (f"--grpc_python_out={PROTOS}", f"--mypy_grpc_out=quiet:{PROTOS}")


def main() -> int:
    """Writes the modules beside this file; returns protoc's exit status."""
    import grpc_tools  # type: ignore[import-not-found]  # only in the environment of the generator
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    includes = (f"-I{well_known}", f"-Ixcomp_protos={PROTOS}")
    names = sorted(f"xcomp_protos/{path.name}" for path in PROTOS.glob("*.proto"))
    services = [name for name in names if "\nservice " in (PROTOS / Path(name).name).read_text(encoding="utf-8")]
    runs = (["protoc", *includes, *MESSAGES, *names], ["protoc", *includes, *SERVICES, *services])
    return max(int(protoc.main(run)) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
