"""`python -m xcomp_model.__main__ plan|pull|convert …`: maintenance of local models, in a process of its own.

It never loads a model: `plan` counts parameters, and `convert` reads one tensor at a time.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from xcomp_model.base import ModelFailure, Runtime
from xcomp_model.families import XCOMPOSER

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ModuleNotFoundError as error:
        return _fail(f"needs the Python package {error.name}, which is not installed: {XCOMPOSER.install}")
    except ModelFailure as error:
        return _fail(str(error))
    except OSError as error:
        if error.filename:
            return _fail(f"{error.filename}: {error.strerror}")
        # The output cannot be written. Redirect it, or Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED if isinstance(error, BrokenPipeError) else _fail(str(error))
    return 0


def _plan(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import plan_model

    plan = plan_model(options.model, Runtime(device=options.device, precision=options.precision))
    if options.json:
        _print(json.dumps({**asdict(plan), "needed": plan.total, "headroom": plan.headroom}, indent=2))
        return
    _print("\n".join(plan.lines()))
    if plan.headroom < 0:
        _print("it does not fit: use --model retrieval or --model openai:MODEL")


def _pull(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import compute_digest, find_folder

    for model in options.models:
        folder = find_folder(model)
        _print(f"{model}  {compute_digest(folder)[:12]}  {folder}")


def _convert(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import convert_model

    convert_model(options.source, options.destination, precision=options.precision)
    _print(f"{options.destination} holds the model; it loads without conversion")


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the result on stdout


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201  # the error on stderr
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp models", description="Maintain local composer models.")
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan")
    plan.add_argument("model")
    plan.add_argument("--device", default="auto")
    plan.add_argument("--precision", default="auto")
    plan.add_argument("--json", action="store_true")
    plan.set_defaults(run=_plan)
    pull = commands.add_parser("pull")
    pull.add_argument("models", nargs="+")
    pull.set_defaults(run=_pull)
    convert = commands.add_parser("convert")
    convert.add_argument("source")
    convert.add_argument("destination", type=Path)
    convert.add_argument("--precision", default="fp16")
    convert.set_defaults(run=_convert)
    return parser


if __name__ == "__main__":
    sys.exit(main())
