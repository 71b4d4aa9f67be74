"""The options of the servers: each has a flag, an environment variable, a default and a help text."""

import argparse
import ipaddress
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from xcomp_protos.errors import InvalidRequest
from xcomp_protos.hub import check_endpoint
from xcomp_protos.server import auth
from xcomp_protos.server.run import ServerEndpoint
from xcomp_protos.telemetry import api, logs
from xcomp_protos.tls import server_tls

log = logging.getLogger(__name__)

FREE_MODELS_S = "600"
_TRUE = ("1", "true", "yes", "on")


def add_option(
    parser: argparse.ArgumentParser,
    flag: str,
    variable: str,
    *,
    help: str,  # noqa: A002  # the name that argparse uses
    default: str | None = None,
    kind: Callable[[str], object] = str,
    choices: Sequence[str] | None = None,
    many: bool = False,
    boolean: bool = False,
) -> None:
    """Adds an option that the environment variable sets where the flag is absent.

    With `many` the flag may be repeated, and the variable is split at the system's path separator; an empty part is a
    usage error, as it would name the working folder. So is a value that is not one of `choices`, from the flag and from
    the variable.
    """
    given = os.environ.get(variable)
    text = f"{help} [{variable}]"
    if boolean:
        parser.add_argument(flag, action="store_true", default=(given or "").lower() in _TRUE, help=text)
    elif many:
        parts = given.split(os.pathsep) if given is not None else None
        if parts and not all(part.strip() for part in parts):
            parser.error(f"{variable}: {given!r} has an empty part: remove it, or unset the variable")
        parser.add_argument(flag, action=_Repeated, default=parts, help=text)
    else:
        if choices and given and given not in choices:
            parser.error(f"{variable}: {given!r} is none of {', '.join(choices)}")
        parser.add_argument(flag, type=kind, choices=choices, default=given or default, help=text)


def wants_traces() -> bool:
    """Returns whether the environment asks for traces."""
    return api.wants_traces(os.environ)


def check_hub() -> None:
    """Raises `InvalidRequest` if the address of the model hub in the environment is wrong."""
    check_endpoint(os.environ)


class _Repeated(argparse.Action):
    """Collects a repeated flag. Unlike `append` of argparse, the first value replaces the default."""

    def __call__(  # the parameters that argparse passes
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, flag: str | None = None
    ) -> None:
        if not str(values).strip():
            parser.error(f"{flag} is empty")
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), values])


def add_endpoint(parser: argparse.ArgumentParser, listen: str, variable: str) -> None:
    """Adds the options that `read_endpoint` reads."""
    add_option(parser, "--listen", variable, default=listen, help="host:port, or unix:/path")
    add_option(parser, "--token-file", "XCOMP_TOKEN_FILE", help="file of tokens; every call must carry one of them")
    add_option(parser, "--tls-cert", "XCOMP_TLS_CERT", default="", help="the server's certificate with its chain, PEM")
    add_option(parser, "--tls-key", "XCOMP_TLS_KEY", default="", help="its key, PEM")
    add_option(
        parser,
        "--tls-client-ca",
        "XCOMP_TLS_CLIENT_CA",
        default="",
        help="authority whose certificate callers must show, PEM",
    )
    add_option(
        parser, "--idle-timeout", "XCOMP_IDLE_TIMEOUT", kind=float, help="seconds without a call until the server ends"
    )


def add_free_models(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says how long an unused model stays in memory."""
    add_option(
        parser, "--free-models", "XCOMP_FREE_MODELS", kind=read_seconds, default=FREE_MODELS_S,
        help="seconds without use until a model leaves memory",
    )  # fmt: skip


def read_seconds(text: str) -> float:
    """Reads a number of seconds above 0; raises ValueError for anything else."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text} is no time")
    return seconds


def read_endpoint(options: argparse.Namespace) -> ServerEndpoint:
    """Returns the endpoint that the options of `add_endpoint` describe.

    Raises:
        InvalidRequest: a file cannot be read or is wrong, the server would be open to the network without a token, or
            the address of the hub is wrong.
    """
    check_hub()
    made = ServerEndpoint(
        options.listen,
        access=auth.read_tokens(options.token_file, option="--token-file") if options.token_file else None,
        tls=server_tls(options.tls_cert, options.tls_key, options.tls_client_ca),
        idle_timeout_s=options.idle_timeout,
        announce=lambda address: print(f"listening on {address}", file=sys.stderr, flush=True),  # noqa: T201
    )
    is_closed = made.access or (made.tls and made.tls.client_ca)
    if not is_closed and not is_private(options.listen):
        raise InvalidRequest(
            f"--listen {options.listen} is open to the network: name a --token-file (xcomp token makes one) or a "
            "--tls-client-ca, or listen on 127.0.0.1"
        )
    for warning in _warn(options, made):
        log.warning(warning)
    return made


def _warn(options: argparse.Namespace, endpoint: ServerEndpoint) -> Iterator[str]:
    """Yields what is allowed and yet unwise."""
    if endpoint.access and not endpoint.tls and not is_private(options.listen):
        yield f"event=plain_tokens listen={options.listen} advice='name a --tls-cert: the network can read tokens'"
    metrics = getattr(options, "metrics_listen", None)
    if metrics and not is_private(metrics):
        yield f"event=open_metrics listen={metrics} advice='metrics need no token: use 127.0.0.1 or a closed network'"


def is_private(listen: str) -> bool:
    """Returns whether only this machine can reach an address."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def add_telemetry(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Adds `--log-level`, `--log-format` and `--metrics-listen`."""
    add_option(
        parser,
        "--log-level",
        "XCOMP_LOG_LEVEL",
        default="INFO",
        choices=logs.LEVELS,
        help="least level of the messages in the log",
    )
    add_option(
        parser, "--log-format", "XCOMP_LOG_FORMAT", default="text", choices=logs.FORMATS,
        help="text, or json: one object on each line",
    )  # fmt: skip
    add_option(
        parser, "--metrics-listen", "XCOMP_METRICS_LISTEN",
        help=f"host:port for Prometheus to scrape, such as 127.0.0.1:{port}; default: no metrics",
    )  # fmt: skip
