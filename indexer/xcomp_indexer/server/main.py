"""The indexer as a process: reads options, opens the store, serves until told to leave.

Every option has an environment twin, named in its help. Only this file of the package reads the environment.
"""

import argparse
import ctypes
import gc
import logging
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from xcomp_indexer.ingest.upload_dir import FOLDER, UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.profiles import DEFAULT_PROFILE, spaces_of
from xcomp_indexer.server.service import IndexerService
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import (
    InvalidRequest,
    Unavailable,
    XcompError,
    one_line,
)
from xcomp_protos.machine import core_count
from xcomp_protos.server.options import add, add_endpoint, add_telemetry, endpoint, traces_wanted
from xcomp_protos.server.run import ServiceSpec, run
from xcomp_protos.telemetry import logs, setup

COLLECT_AFTER = 20_000  # objects made and not gone since the last look
_M_ARENA_MAX = -8  # of malloc.h

log = logging.getLogger(__name__)

STORE_WAIT_S = 2
FREE_MODELS_S = 600  # a model nobody asked for in this time leaves memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the indexer; returns the exit status."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, options.log_format)
    settle()
    try:
        _serve(options)
    except XcompError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)  # noqa: T201  # the process's last word
        return 2 if isinstance(error, InvalidRequest) else 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    spaces_of(options.profile)  # a wrong name is told now and not by the first request
    home = Path(options.home).expanduser()
    stores = open_stores(options.store or f"edge:{home / 'repositories'}", api_key=_store_key(options))
    models = EmbedderCache()
    library = RepositoryCatalog(stores, models, default_profile=options.profile)
    roots = [Path(root) for root in options.allow_root or ["/"]]
    service = IndexerService(library, roots=roots, upload_dir=UploadDir(home / FOLDER))
    registered = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    stop = threading.Event()
    threading.Thread(target=_free_models, args=(models, stop), name="free-models", daemon=True).start()
    try:
        with setup.observed(options, _readings(models), service="xcomp-indexer", traces=traces_wanted()):
            run([registered], endpoint(options), prepare=partial(_prepare, library, options))
    finally:
        stop.set()
        library.close()


def _readings(models: EmbedderCache) -> setup.Readings:
    return {"models_loaded": ("embedding models in memory", lambda: len(models.names()))}


def _prepare(library: RepositoryCatalog, options: argparse.Namespace, stop: threading.Event) -> None:
    """Loads what is to be there from the start, and waits for a store that is not up yet."""
    if options.preload:
        for spec in spaces_of(options.profile):
            library.models.get(spec.model)
    while not stop.is_set():
        try:
            library.names()
        except Unavailable as error:
            log.warning("event=waiting reason=%r", one_line(str(error)))
            stop.wait(STORE_WAIT_S)
        else:
            return


def _store_key(options: argparse.Namespace) -> str | None:
    if not options.store_key_file:
        return str(options.store_key) if options.store_key else None
    try:
        return Path(options.store_key_file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--store-key-file {options.store_key_file} cannot be read: {error}") from None


def _free_models(models: EmbedderCache, stop: threading.Event) -> None:
    while not stop.wait(FREE_MODELS_S / 10):
        models.free_idle(FREE_MODELS_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp-indexer", description="The image repository of xcomp, over gRPC.")
    add_endpoint(parser, "127.0.0.1:7411", "XCOMP_INDEXER_LISTEN")
    add(parser, "--home", "XCOMP_HOME", default=_home(), help="folder of the embedded store and of uploads")
    add(
        parser,
        "--store",
        "XCOMP_STORE",
        help="edge:FOLDER, http(s)://… or grpc(s)://… of Qdrant; default: below --home",
    )
    add(parser, "--store-key", "XCOMP_STORE_KEY", help="API key of the Qdrant server; a file keeps it out of sight")
    add(parser, "--store-key-file", "XCOMP_STORE_KEY_FILE", help="file with that key")
    add(
        parser, "--profile", "XCOMP_PROFILE", default=DEFAULT_PROFILE, help="of new repositories: clip, xcomposer, lite"
    )
    add(parser, "--preload", "XCOMP_PRELOAD", boolean=True, help="load the profile's models before serving")
    add(parser, "--allow-root", "XCOMP_ALLOW_ROOT", many=True, help="folder whose pictures may be read; default: all")
    add_telemetry(parser, port=9411)
    return parser


def _home() -> str:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return f"{data}/xcomp"


def settle() -> None:
    """Sets it for the whole process; to be called before its threads are started."""
    gc.set_threshold(COLLECT_AFTER)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc; another library goes about it in its own way
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, core_count())


if __name__ == "__main__":
    sys.exit(main())
