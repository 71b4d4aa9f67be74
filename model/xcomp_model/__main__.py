"""`python -m xcomp_model.__main__ plan|pull|convert …`: upkeep of local models, in a process of its own.

It loads no model: a plan counts, a conversion passes tensors through.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from xcomp_model.base import ModelError, Runtime

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of them; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ModuleNotFoundError as error:
        return _failed(f"needs the Python package {error.name}, which is not installed: pip install 'xcomp[composer]'")
    except ModelError as error:
        return _failed(str(error))
    except OSError as error:
        if error.filename:
            return _failed(f"{error.filename}: {error.strerror}")
        # Nobody takes the result: it goes nowhere, for the end of the process would try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED if isinstance(error, BrokenPipeError) else _failed(str(error))
    return 0


def _plan(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import plan_model

    plan = plan_model(options.model, Runtime(device=options.device, precision=options.precision))
    if options.json:
        _say(json.dumps({**asdict(plan), "needed": plan.needed, "headroom": plan.headroom}, indent=2))
        return
    _say("\n".join(plan.lines()))
    if plan.headroom < 0:
        _say("it does not fit: use --model retrieval or --model openai:MODEL")


def _pull(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import digest, find_folder

    for model in options.models:
        folder = find_folder(model)
        _say(f"{model}  {digest(folder)[:12]}  {folder}")


def _convert(options: argparse.Namespace) -> None:
    from xcomp_model.xcomposer.loading import convert_model

    convert_model(options.source, options.destination, precision=options.precision)
    _say(f"{options.destination} holds the model; it loads without conversion")


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201  # its result


def _failed(words: str) -> int:
    print(f"error: {' '.join(words.split())}", file=sys.stderr)  # noqa: T201  # its last word
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("xcomp models", description="Upkeep of local composer models.")
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
