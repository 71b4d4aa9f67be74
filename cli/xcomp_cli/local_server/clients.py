"""Gives the commands their clients: of the servers that the user named, else of local ones."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from xcomp_cli.local_server import manager
from xcomp_cli.local_server.paths import ServerPaths, data_home
from xcomp_cli.local_server.process import COMPOSER, INDEXER, ServerProgram, until
from xcomp_cli.local_server.state import State, running
from xcomp_cli.output import progress
from xcomp_protos.client import ComposerClient, IndexerClient
from xcomp_protos.errors import InvalidRequest, Unavailable
from xcomp_protos.tls import CLIENT_FILES, ClientTls, client_tls

ANSWER_S = 600.0  # of a single call; the first one of a profile loads its models
IDLE_S = 900
DYING_S = 1.0  # from the end of its connections to that of its lock
TLS_FILES = (
    "XCOMP_TLS_CA",
    "XCOMP_TLS_CLIENT_CERT",
    "XCOMP_TLS_CLIENT_KEY",
)  # their flags at the composer: CLIENT_FILES

Client = TypeVar("Client", IndexerClient, ComposerClient)


class PartialResultSaved(Unavailable):
    """A server went away, but what was made so far is kept; the message says how to go on."""


def is_remote(address: str) -> bool:
    """Whether files of this machine have to be sent to a server: all but unix sockets may lead to another machine."""
    return bool(address) and not address.startswith("unix:")


@contextmanager
def indexer(address: str) -> Iterator[IndexerClient]:
    """Connects to the indexer at `address`, or to the local one if that is empty."""
    if address:
        with IndexerClient(address, token=_given_token(), tls=given_tls(), timeout_s=ANSWER_S) as client:
            yield client
        return
    state = local_indexer()
    with IndexerClient(state.address, token=state.token(), timeout_s=ANSWER_S) as client, _explained(INDEXER):
        yield client


@contextmanager
def composer(address: str, *, indexer_address: str) -> Iterator[ComposerClient]:
    """Connects to the composer at `address`, or to a local one that works with the given or the local indexer.

    Raises:
        InvalidRequest: a composer was named without its indexer.
    """
    if address:
        if not indexer_address:
            raise InvalidRequest("--composer needs --indexer beside it: the pictures are fetched from there")
        with ComposerClient(address, token=_given_token(), tls=given_tls(), timeout_s=ANSWER_S) as client:
            yield client
        return
    state = local_composer(indexer_address)
    with ComposerClient(state.address, token=state.token(), timeout_s=ANSWER_S) as client, _explained(COMPOSER):
        yield client


def local_indexer() -> State:
    """Finds or starts the local indexer."""
    home = data_home()
    options = ("--home", str(home), "--idle-timeout", _idle_s(), "--allow-root", home.anchor)
    return manager.ensure(INDEXER, places(INDEXER), options=options, waiting=progress.waiting)


def local_composer(indexer_address: str) -> State:
    """Finds or starts the local composer on the named indexer, or on the local one."""
    given = os.environ.get("XCOMP_TOKEN_FILE", "")
    options: Sequence[str] = ("--indexer", indexer_address, *_token_option(given), *_tls_options())
    if not indexer_address:
        state = local_indexer()
        options = ("--indexer", state.address, *_token_option(state.token_file))
    options = (*options, "--idle-timeout", _idle_s())
    return manager.ensure(COMPOSER, places(COMPOSER), options=options, waiting=progress.waiting)


def places(service: ServerProgram) -> ServerPaths:
    """Returns where the local server of this home has its files."""
    return ServerPaths(data_home(), service.name)


def _token_option(path: str) -> tuple[str, ...]:
    return ("--indexer-token-file", path) if path else ()


def _tls_options() -> Sequence[str]:
    files = ((flag, os.environ.get(name)) for flag, name in zip(CLIENT_FILES, TLS_FILES, strict=True))
    return [word for flag, path in files if path for word in (flag, os.path.abspath(path))]  # noqa: PTH100  # its folder is another


def _idle_s() -> str:
    return os.environ.get("XCOMP_IDLE_TIMEOUT") or str(IDLE_S)


def _given_token() -> str | None:
    """The secret of servers elsewhere."""
    from xcomp_protos.server import auth

    path = os.environ.get("XCOMP_TOKEN_FILE")
    return auth.read_secret(path, option="XCOMP_TOKEN_FILE") if path else None


def given_tls() -> ClientTls:
    """Whom to trust at servers elsewhere, and what to show them."""
    files = [os.environ.get(name, "") for name in TLS_FILES]
    return client_tls(*files, options=TLS_FILES)


@contextmanager
def _explained(service: ServerProgram) -> Iterator[None]:
    """Says so when a local server died in the middle of the work."""
    try:
        yield
    except PartialResultSaved:
        raise
    except Unavailable:
        if not until(lambda: running(places(service)) is None, DYING_S):
            raise
        why = manager.full_disk(places(service)) or "run the command again, a new one starts"
        raise Unavailable(f"the local {service.name} ended (log: {places(service).log}): {why}") from None
