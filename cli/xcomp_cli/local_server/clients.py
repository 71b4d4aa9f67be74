"""Connects commands to the servers that the user named, or to local ones."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from xcomp_cli.local_server import manager
from xcomp_cli.local_server.paths import ServerPaths, data_home
from xcomp_cli.local_server.process import COMPOSER, INDEXER, ServerProgram, wait_until
from xcomp_cli.local_server.state import State, find_running
from xcomp_cli.output import progress
from xcomp_protos.client import ComposerClient, IndexerClient
from xcomp_protos.errors import InvalidRequest, Unavailable
from xcomp_protos.server import auth
from xcomp_protos.tls import CLIENT_FILES, ClientTls, client_tls

ANSWER_S = 600.0  # of one call; the first call of a profile loads its models
IDLE_S = 870  # a server looks once a second, and drains: it leaves within 15 minutes
FREE_MODELS_S = 100  # a server is at most a tenth late: models of an idle one leave memory within 2 minutes
DYING_S = 1.0  # from the end of a server's connections to the end of its lock
TLS_FILES = (
    "XCOMP_TLS_CA",
    "XCOMP_TLS_CLIENT_CERT",
    "XCOMP_TLS_CLIENT_KEY",
)  # their flags at the composer: CLIENT_FILES

Client = TypeVar("Client", IndexerClient, ComposerClient)


class PartialResultSaved(Unavailable):
    """A server stopped, but the results so far are saved; the message says how to continue."""


def is_remote(address: str) -> bool:
    """Whether files must be uploaded to a server: any address but a unix socket may be another machine."""
    return bool(address) and not address.startswith("unix:")


@contextmanager
def indexer(address: str) -> Iterator[IndexerClient]:
    """Connects to the indexer at `address`, or to the local one if that is empty."""
    if address:
        with IndexerClient(address, token=_read_token(), tls=read_tls(), timeout_s=ANSWER_S) as client:
            yield client
        return
    state = local_indexer()
    with IndexerClient(state.address, token=state.token(), timeout_s=ANSWER_S) as client, _explain_server_end(INDEXER):
        yield client


@contextmanager
def composer(address: str, *, indexer_address: str) -> Iterator[ComposerClient]:
    """Connects to the composer at `address`, or to a local one that works with the given or the local indexer.

    Raises:
        InvalidRequest: a composer is named without its indexer.
    """
    if address:
        if not indexer_address:
            raise InvalidRequest("--composer needs --indexer as well: the images are fetched from there")
        with ComposerClient(address, token=_read_token(), tls=read_tls(), timeout_s=ANSWER_S) as client:
            yield client
        return
    state = local_composer(indexer_address)
    with (
        ComposerClient(state.address, token=state.token(), timeout_s=ANSWER_S) as client,
        _explain_server_end(COMPOSER),
    ):
        yield client


def local_indexer() -> State:
    """Finds or starts the local indexer."""
    home = data_home()
    options = ("--home", str(home), *_idle_options(), "--allow-root", home.anchor)
    return manager.ensure(INDEXER, server_paths(INDEXER), options=options, waiting=progress.show_wait)


def local_composer(indexer_address: str) -> State:
    """Finds or starts the local composer on the named indexer, or on the local one."""
    given = os.environ.get("XCOMP_TOKEN_FILE", "")
    options: Sequence[str] = ("--indexer", indexer_address, *_token_option(given), *_tls_options())
    if not indexer_address:
        state = local_indexer()
        options = ("--indexer", state.address, *_token_option(state.token_file))
    options = (*options, "--allow-model", "*", *_idle_options())  # its callers are this user
    return manager.ensure(COMPOSER, server_paths(COMPOSER), options=options, waiting=progress.show_wait)


def server_paths(service: ServerProgram) -> ServerPaths:
    """Returns where the local server of this home has its files."""
    return ServerPaths(data_home(), service.name)


def _token_option(path: str) -> tuple[str, ...]:
    return ("--indexer-token-file", path) if path else ()


def _tls_options() -> Sequence[str]:
    files = ((flag, os.environ.get(name)) for flag, name in zip(CLIENT_FILES, TLS_FILES, strict=True))
    return [word for flag, path in files if path for word in (flag, os.path.abspath(path))]  # noqa: PTH100  # the server has another working directory


def _idle_options() -> Sequence[str]:
    idle_s = os.environ.get("XCOMP_IDLE_TIMEOUT") or str(IDLE_S)
    free_s = os.environ.get("XCOMP_FREE_MODELS") or str(FREE_MODELS_S)
    return ("--idle-timeout", idle_s, "--free-models", free_s)


def _read_token() -> str | None:
    """Returns the token for servers elsewhere."""

    path = os.environ.get("XCOMP_TOKEN_FILE")
    return auth.read_secret(path, option="XCOMP_TOKEN_FILE") if path else None


def read_tls() -> ClientTls:
    """Returns the TLS files for servers elsewhere."""
    files = [os.environ.get(name, "") for name in TLS_FILES]
    return client_tls(*files, options=TLS_FILES)


@contextmanager
def _explain_server_end(service: ServerProgram) -> Iterator[None]:
    """Explains an error of a local server that ended during the work."""
    try:
        yield
    except PartialResultSaved:
        raise
    except Unavailable:
        if not wait_until(lambda: find_running(server_paths(service)) is None, DYING_S):
            raise
        why = manager.explain_full_disk(server_paths(service)) or "run the command again, which starts a new one"
        raise Unavailable(f"the local {service.name} ended (log: {server_paths(service).log}): {why}") from None
