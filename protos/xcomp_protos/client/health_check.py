"""`python -m xcomp_protos.client.health_check ADDRESS`: exits 0 if a server takes calls, else 1."""

import argparse
import sys
from collections.abc import Sequence

from xcomp_protos.client.channel import dial, translate_errors
from xcomp_protos.errors import run_main
from xcomp_protos.tls import client_tls


def main(arguments: Sequence[str] | None = None) -> int:
    """Asks a server whether it takes calls; returns the exit status."""
    parser = argparse.ArgumentParser(
        "xcomp_protos.client.health_check", description="Asks a server whether it takes calls."
    )
    parser.add_argument("address", help="host:port, grpcs://host:port or unix:/path")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="how long to wait")
    parser.add_argument("--tls-ca", default="", metavar="FILE", help="authorities to trust at grpcs://, PEM")
    options = parser.parse_args(arguments)
    return min(run_main(lambda: _report(options)), 1)


def _report(options: argparse.Namespace) -> int:
    said = ask_status(options.address, ca=options.tls_ca, timeout_s=options.timeout)
    print(said)  # noqa: T201  # the result
    return int(said != "SERVING")


def ask_status(address: str, *, ca: str = "", timeout_s: float) -> str:
    """Returns what the health service says: SERVING, NOT_SERVING.

    Raises:
        Unavailable: the server does not answer.
        DeadlineExceeded: it does not answer in time.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with dial(address, tls=client_tls(ca, "", "")) as channel, translate_errors("server", address):
        stub = health_pb2_grpc.HealthStub(channel)
        response = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


if __name__ == "__main__":
    sys.exit(main())
