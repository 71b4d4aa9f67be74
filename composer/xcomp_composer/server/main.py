"""The composer as a process: reads options, wires the models and the indexer, serves until told to leave.

Every option has an environment twin, named in its help. Only this file of the package reads the environment. Nothing of
a language model is loaded before one is asked for.
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
from xcomp_protos.errors import (
    InvalidRequest,
    XcompError,
    one_line,
)
from xcomp_protos.server import auth
from xcomp_protos.server.options import add, add_endpoint, add_telemetry, endpoint, traces_wanted
from xcomp_protos.server.run import ServiceSpec, run
from xcomp_protos.telemetry import logs, setup
from xcomp_protos.tls import client_tls

PRELOAD_S = 3600.0
_TOKEN = "--indexer-token-file"  # noqa: S105  # an option's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the composer; returns the exit status."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, options.log_format)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a hub is asked for files, and told nothing of who asks
    try:
        _serve(options)
    except XcompError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)  # noqa: T201  # the process's last word
        return 2 if isinstance(error, InvalidRequest) else 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    models = ModelPool(
        EndpointConfig(options.openai_url or "", os.environ.get("OPENAI_API_KEY", "")),
        LocalRuntime(options.device, options.precision, options.procedure, options.prompt_memory),
    )
    token = auth.secret(options.indexer_token_file, option=_TOKEN) if options.indexer_token_file else None
    trust = client_tls(options.tls_ca, options.tls_client_cert, options.tls_client_key)
    service = ComposerService(Dependencies(options.indexer, models, token=token, tls=trust, profile=options.profile))
    registered = ServiceSpec("xcomp.v1.Composer", lambda server: rpc.add_ComposerServicer_to_server(service, server))
    try:
        readings = {"models_loaded": ("composing models in memory", lambda: len(models.names()))}
        with setup.observed(options, readings, service="xcomp-composer", traces=traces_wanted()):
            run([registered], endpoint(options), prepare=partial(_prepare, models, options))
    finally:
        service.close()


def _prepare(models: ModelPool, options: argparse.Namespace, stop: threading.Event) -> None:
    """Loads the model of the profile where that is to be there from the start."""
    if options.preload and not stop.is_set():
        models.load_illustrator("", options.profile, lambda: PRELOAD_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp-composer", description="The composer of xcomp, over gRPC.")
    add_endpoint(parser, "127.0.0.1:7412", "XCOMP_COMPOSER_LISTEN")
    add(
        parser,
        "--indexer",
        "XCOMP_INDEXER",
        default="127.0.0.1:7411",
        help="host:port, grpcs://host:port or unix:/path of the indexer",
    )
    add(parser, _TOKEN, "XCOMP_INDEXER_TOKEN_FILE", help="file with the token that the indexer asks for")
    add(parser, "--tls-ca", "XCOMP_TLS_CA", default="", help="whom to trust for an indexer at grpcs://, PEM")
    add(parser, "--tls-client-cert", "XCOMP_TLS_CLIENT_CERT", default="", help="certificate to show there, PEM")
    add(parser, "--tls-client-key", "XCOMP_TLS_CLIENT_KEY", default="", help="its key, PEM")
    add(parser, "--profile", "XCOMP_PROFILE", default="clip", help="whose model it names: clip, xcomposer, lite")
    add(parser, "--preload", "XCOMP_PRELOAD", boolean=True, help="load the profile's model before serving")
    add(parser, "--openai-url", "OPENAI_BASE_URL", help="of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY")
    add(parser, "--device", "XCOMP_DEVICE", default="auto", help="of local models: auto, cpu, cuda, cuda:N, spread")
    add(
        parser, "--precision", "XCOMP_PRECISION", default="auto", choices=("auto", "bf16", "fp16", "fp32"),
        help="of local models",
    )  # fmt: skip
    add(
        parser, "--procedure", "XCOMP_PROCEDURE", default="native", choices=("native", "reference"),
        help="of InternLM-XComposer; reference: decode as released, to compare with",
    )  # fmt: skip
    add(
        parser, "--prompt-memory", "XCOMP_PROMPT_MEMORY", kind=gib,
        help="GiB that local models may take for the prompts they have read; default: what a GPU has free, 2 on a CPU",
    )  # fmt: skip
    add_telemetry(parser, port=9412)
    return parser


def gib(text: str) -> int:
    """Reads a number of GiB; returns bytes. ValueError where it is none, or not over 0."""
    size = float(text)
    if not 0 < size < math.inf:
        raise ValueError(f"{text} is no size")
    return round(size * (1 << 30))


if __name__ == "__main__":
    sys.exit(main())
