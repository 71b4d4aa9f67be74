"""The composer as a process: reads options, wires models and indexer, serves until a signal or the idle time-out.

Every option has an environment variable, named in its help. Only this file of the package reads the environment. No
part of a language model is loaded before a request needs it.
"""

import argparse
import math
import os
import sys
import threading
from collections.abc import Sequence
from functools import partial

from xcomp_composer.model_pool.pool import EndpointConfig, LocalRuntime, ModelPool
from xcomp_composer.server.service import ComposerService, Dependencies
from xcomp_protos import composer_pb2_grpc as rpc
from xcomp_protos.errors import run_main
from xcomp_protos.server import auth
from xcomp_protos.server.idle import free_regularly
from xcomp_protos.server.options import (
    add_endpoint,
    add_free_models,
    add_option,
    add_telemetry,
    read_endpoint,
    wants_traces,
)
from xcomp_protos.server.run import ServiceSpec, serve
from xcomp_protos.telemetry import logs, setup
from xcomp_protos.tls import client_tls

PRELOAD_S = 3600.0
_TOKEN = "--indexer-token-file"  # noqa: S105  # an option's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the composer; returns the exit status."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, options.log_format)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a hub learns nothing about the user
    os.environ["HF_HUB_OFFLINE"] = "1"  # a request never fetches weights: `xcomp models pull` does
    return run_main(lambda: _serve(options))


def _serve(options: argparse.Namespace) -> None:
    models = ModelPool(
        EndpointConfig(options.openai_url or "", os.environ.get("OPENAI_API_KEY", "")),
        LocalRuntime(options.device, options.precision, options.procedure, options.prompt_memory),
        allowed=frozenset(options.allow_model or ()),
    )
    token = auth.read_secret(options.indexer_token_file, option=_TOKEN) if options.indexer_token_file else None
    trust = client_tls(options.tls_ca, options.tls_client_cert, options.tls_client_key)
    service = ComposerService(Dependencies(options.indexer, models, token=token, tls=trust, profile=options.profile))
    service_spec = ServiceSpec("xcomp.v1.Composer", lambda server: rpc.add_ComposerServicer_to_server(service, server))
    try:
        readings = {"models_loaded": ("composing models in memory", lambda: len(models.names()))}
        with setup.observe_process(
            "xcomp-composer", readings, metrics_listen=options.metrics_listen, traces=wants_traces()
        ):
            free_regularly(models.free_idle, after_s=options.free_models)
            serve([service_spec], read_endpoint(options), prepare=partial(_prepare, models, options))
    finally:
        service.close()


def _prepare(models: ModelPool, options: argparse.Namespace, stop: threading.Event) -> None:
    """Loads the model of the profile where `--preload` asks for it."""
    if options.preload and not stop.is_set():
        models.load_illustrator("", options.profile, lambda: PRELOAD_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp-composer", description="The composer of xcomp, over gRPC.")
    add_endpoint(parser, "127.0.0.1:7412", "XCOMP_COMPOSER_LISTEN")
    add_option(
        parser,
        "--indexer",
        "XCOMP_INDEXER",
        default="127.0.0.1:7411",
        help="host:port, grpcs://host:port or unix:/path of the indexer",
    )
    add_option(parser, _TOKEN, "XCOMP_INDEXER_TOKEN_FILE", help="file with the token that the indexer needs")
    add_option(
        parser, "--tls-ca", "XCOMP_TLS_CA", default="", help="authorities to trust for an indexer at grpcs://, PEM"
    )
    add_option(parser, "--tls-client-cert", "XCOMP_TLS_CLIENT_CERT", default="", help="certificate to show there, PEM")
    add_option(parser, "--tls-client-key", "XCOMP_TLS_CLIENT_KEY", default="", help="its key, PEM")
    add_option(
        parser, "--profile", "XCOMP_PROFILE", default="clip", help="profile whose model is used: clip, xcomposer, lite"
    )
    add_option(parser, "--preload", "XCOMP_PRELOAD", boolean=True, help="load the profile's model before serving")
    add_option(
        parser, "--openai-url", "OPENAI_BASE_URL", help="of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY"
    )
    add_option(
        parser, "--allow-model", "XCOMP_ALLOW_MODEL", many=True,
        help="model or folder that callers may name beside the known models; *: any, for a server of one user",
    )  # fmt: skip
    add_option(
        parser, "--device", "XCOMP_DEVICE", default="auto", help="of local models: auto, cpu, cuda, cuda:N, spread"
    )
    add_option(
        parser, "--precision", "XCOMP_PRECISION", default="auto", choices=("auto", "bf16", "fp16", "fp32"),
        help="of local models",
    )  # fmt: skip
    add_option(
        parser, "--procedure", "XCOMP_PROCEDURE", default="native", choices=("native", "reference"),
        help="of InternLM-XComposer; reference: decode as released, to compare with",
    )  # fmt: skip
    add_option(
        parser, "--prompt-memory", "XCOMP_PROMPT_MEMORY", kind=parse_gib,
        help="GiB that local models may take to cache prompts; default: the free memory of a GPU, 2 on a CPU",
    )  # fmt: skip
    add_free_models(parser)
    add_telemetry(parser, port=9412)
    return parser


def parse_gib(text: str) -> int:
    """Reads a number of GiB; returns bytes. Raises ValueError where it is not a number above 0."""
    size = float(text)
    if not 0 < size < math.inf:
        raise ValueError(f"{text} is not a size")
    return round(size * (1 << 30))


if __name__ == "__main__":
    sys.exit(main())
