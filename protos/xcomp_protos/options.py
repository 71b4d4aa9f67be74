"""The options of the servers: each a flag with an environment twin, a default and a help, in one place."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from xcomp_protos.transport.errors import InvalidRequest
from xcomp_protos.transport.server import Endpoint

_TRUE = ("1", "true", "yes", "on")


def add(
    parser: argparse.ArgumentParser,
    flag: str,
    variable: str,
    *,
    help: str,  # noqa: A002  # argparse's own word
    default: str | None = None,
    kind: Callable[[str], object] = str,
    choices: Sequence[str] | None = None,
    many: bool = False,
    boolean: bool = False,
) -> None:
    """Adds an option that the environment variable sets where the flag is absent.

    With `many` the flag may be repeated, and the variable separates by the system's path separator. A value that is
    none of `choices` is a usage error, wherever it comes from.
    """
    given = os.environ.get(variable)
    text = f"{help} [{variable}]"
    if boolean:
        parser.add_argument(flag, action="store_true", default=(given or "").lower() in _TRUE, help=text)
    elif many:
        parser.add_argument(flag, action=_Repeated, default=given.split(os.pathsep) if given else None, help=text)
    else:
        if choices and given and given not in choices:
            parser.error(f"{variable}: {given!r} is none of {', '.join(choices)}")
        parser.add_argument(flag, type=kind, choices=choices, default=given or default, help=text)


class _Repeated(argparse.Action):
    """Collects a repeated flag. Unlike argparse's own `append`, the first one replaces the default."""

    def __call__(  # in argparse's own order
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, __: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), values])


def endpoint(options: argparse.Namespace) -> Endpoint:
    """Reads `--listen`, `--token-file` and `--idle-timeout`.

    Raises:
        InvalidRequest: the token file cannot be read or is empty.
    """
    token = None
    if options.token_file:
        try:
            token = Path(options.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"--token-file {options.token_file} cannot be read: {error}") from None
        if not token:
            raise InvalidRequest(f"--token-file {options.token_file} is empty")
    return Endpoint(
        options.listen,
        token=token,
        idle_timeout_s=options.idle_timeout,
        announce=lambda address: print(f"listening on {address}", file=sys.stderr, flush=True),  # noqa: T201
    )
