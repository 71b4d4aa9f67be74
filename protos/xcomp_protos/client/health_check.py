"""`python -m xcomp_protos.client.health_check ADDRESS`: exits 0 if a server takes calls, else 1."""

import argparse
import sys
from collections.abc import Sequence

from xcomp_protos.client.channel import dial, translate_errors
from xcomp_protos.errors import XcompError
from xcomp_protos.tls import client_tls


def main(arguments: Sequence[str] | None = None) -> int:
    """Asks a server how it is; returns the exit status."""
    parser = argparse.ArgumentParser(
        "xcomp_protos.client.health_check", description="Asks a server whether it takes calls."
    )
    parser.add_argument("address", help="host:port, grpcs://host:port or unix:/path")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="how long to wait")
    parser.add_argument("--tls-ca", default="", metavar="FILE", help="whom to trust at grpcs://, PEM")
    options = parser.parse_args(arguments)
    try:
        said = status(options.address, ca=options.tls_ca, timeout_s=options.timeout)
    except XcompError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # its word
        return 1
    print(said)  # noqa: T201  # its result
    return int(said != "SERVING")


def status(address: str, *, ca: str = "", timeout_s: float) -> str:
    """Returns what the health service says: SERVING, NOT_SERVING.

    Raises:
        Unavailable: nobody answers.
        DeadlineExceeded: not in time.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with dial(address, tls=client_tls(ca, "", "")) as channel, translate_errors("server", address):
        stub = health_pb2_grpc.HealthStub(channel)
        response = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


if __name__ == "__main__":
    sys.exit(main())
