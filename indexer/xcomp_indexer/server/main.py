"""The indexer as a process: reads options, opens the store, serves until a signal or the idle time-out.

Every option has an environment variable, named in its help. Only this file of the package reads the environment.
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

from xcomp_indexer import embed
from xcomp_indexer.embed.engine.execution import ENGINES, PRECISIONS, Execution
from xcomp_indexer.ingest.upload_dir import FOLDER, UploadDir
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.repository.profiles import DEFAULT_PROFILE, spaces_of
from xcomp_indexer.server.service import IndexerService
from xcomp_indexer.store.factory import open_stores
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import InvalidRequest, Unavailable, one_line, run_main
from xcomp_protos.machine import core_count
from xcomp_protos.server.idle import free_regularly
from xcomp_protos.server.options import (
    add_endpoint,
    add_free_models,
    add_option,
    add_telemetry,
    is_private,
    read_endpoint,
    wants_traces,
)
from xcomp_protos.server.run import ServiceSpec, serve
from xcomp_protos.telemetry import logs, setup

GC_THRESHOLD = 20_000  # new objects before a collection
_M_ARENA_MAX = -8  # of malloc.h

log = logging.getLogger(__name__)

STORE_WAIT_S = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the indexer; returns the exit status."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, options.log_format)
    tune_memory()
    return run_main(lambda: _serve(options))


def _serve(options: argparse.Namespace) -> None:
    spaces_of(options.profile)  # a wrong name fails at the start, not at the first request
    endpoint, roots = read_endpoint(options), _read_roots(options)
    os.umask(0o077)  # what the store and uploads hold is for this account alone
    home = Path(options.home).expanduser()
    stores = open_stores(options.store or f"edge:{home / 'repositories'}", api_key=_store_key(options))
    execution = Execution(options.engine, options.precision)
    models = EmbedderCache(partial(embed.load, execution=execution))
    catalog = RepositoryCatalog(stores, models, default_profile=options.profile)
    service = IndexerService(catalog, roots=roots, upload_dir=UploadDir(home / FOLDER))
    service_spec = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(service, server))
    free_regularly(models.free_idle, after_s=options.free_models)
    try:
        with setup.observe_process(
            "xcomp-indexer", _readings(models), metrics_listen=options.metrics_listen, traces=wants_traces()
        ):
            serve([service_spec], endpoint, prepare=partial(_prepare, catalog, options))
    finally:
        catalog.close()


def _read_roots(options: argparse.Namespace) -> list[Path]:
    """Returns the folders whose images may be read; a server that the network can reach must be told."""
    if not options.allow_root and not is_private(options.listen):
        raise InvalidRequest(
            f"--listen {options.listen} is open to the network: name the folders that it may read with --allow-root"
        )
    return [Path(root) for root in options.allow_root or ["/"]]


def _readings(models: EmbedderCache) -> setup.Readings:
    return {"models_loaded": ("embedding models in memory", lambda: len(models.names()))}


def _prepare(catalog: RepositoryCatalog, options: argparse.Namespace, stop: threading.Event) -> None:
    """Loads the models of `--preload`, and waits for a store that is not up yet."""
    if options.preload:
        for spec in spaces_of(options.profile):
            catalog.models.get(spec.model)
    while not stop.is_set():
        try:
            catalog.names()
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp-indexer", description="The image repository of xcomp, over gRPC.")
    add_endpoint(parser, "127.0.0.1:7411", "XCOMP_INDEXER_LISTEN")
    add_option(parser, "--home", "XCOMP_HOME", default=_home(), help="folder of the embedded store and of uploads")
    add_option(
        parser,
        "--store",
        "XCOMP_STORE",
        help="edge:FOLDER, http(s)://… or grpc(s)://… of Qdrant; default: below --home",
    )
    add_option(parser, "--store-key", "XCOMP_STORE_KEY", help="API key of the Qdrant server; a file keeps it secret")
    add_option(parser, "--store-key-file", "XCOMP_STORE_KEY_FILE", help="file with that key")
    add_option(
        parser, "--profile", "XCOMP_PROFILE", default=DEFAULT_PROFILE, help="of new repositories: clip, xcomposer, lite"
    )
    add_option(parser, "--preload", "XCOMP_PRELOAD", boolean=True, help="load the profile's models before serving")
    add_option(
        parser, "--engine", "XCOMP_ENGINE", default="auto", choices=ENGINES,
        help="of embedding models; auto: torch on a GPU, else OpenVINO where it has a graph of the model, else torch",
    )  # fmt: skip
    add_option(
        parser, "--precision", "XCOMP_EMBED_PRECISION", default="auto", choices=PRECISIONS,
        help="of embedding models; auto: bf16 where it is fast and the vectors stay alike, else fp32",
    )  # fmt: skip
    add_option(
        parser,
        "--allow-root",
        "XCOMP_ALLOW_ROOT",
        many=True,
        help="folder whose images may be read; default on loopback: all",
    )
    add_free_models(parser)
    add_telemetry(parser, port=9411)
    return parser


def _home() -> str:
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return f"{data}/xcomp"


def tune_memory() -> None:
    """Sets how Python collects garbage and how glibc allocates; call it before any thread starts."""
    gc.set_threshold(GC_THRESHOLD)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, core_count())


if __name__ == "__main__":
    sys.exit(main())
