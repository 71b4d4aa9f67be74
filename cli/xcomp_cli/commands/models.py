"""`xcomp models`: what each model is, what it cannot do, its licence, and how it gets here.

The table is data, nothing is loaded here; the indexer fetches what embeds, the model package fetches, plans and
converts what composes, each in a process of its own.
"""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.indexing.fetch import fetch
from xcomp_cli.local_server import manager
from xcomp_cli.local_server.process import COMPOSER, INDEXER
from xcomp_cli.model_catalog import Model, find_others, list_models
from xcomp_cli.output import console

models = typer.Typer(
    help="Says what the models are, fetches and converts them.", rich_markup_mode=None, add_completion=False
)


@models.callback()
def root() -> None:
    """Says what the models are, and fetches them."""


@models.command("list")
def list_(json: options.Json = False) -> None:
    """Lists the models: what each is, what it cannot do, its licence."""
    if json:
        console.print_json([_as_json(model) for model in (*list_models(), *find_others())])
        return
    for model in (*list_models(), *find_others()):
        state = model.describe_lack() or "installed"
        console.print_result(f"{console.strong(model.name)}  {console.faint(f'profile: {model.profile} · {state}')}")
        for name, text in (
            ("does", model.role), ("is", model.what), ("cannot", model.cannot), ("licence", model.licence)
        ):  # fmt: skip
            console.print_result(console.wrap(f"  {name:<9}", text))


@models.command()
def pull(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL…", help="Models, or a profile for all of its models.", show_default=False),
    ],
    keep: Annotated[
        bool, typer.Option("--keep", help="Ask no network for embedding models that are here and work.")
    ] = False,
) -> None:
    """Fetches models from the hub (HF_ENDPOINT) or ModelScope (modelscope:org/name); tries those that embed."""

    raise typer.Exit(fetch(names, keep=keep))


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL…]", help="Models, or a profile; by default all that were fetched.", show_default=False
        ),
    ] = None,
) -> None:
    """Reads fetched models again, and names every file that is not what was fetched; asks no network."""

    manager.require(INDEXER)
    here = [model.name for model in list_models() if model.repository and model.is_fetched()]
    wanted = names or [*here, *(model.name for model in find_others())]
    if not wanted:
        console.note("nothing was fetched yet: xcomp models list says what there is")
        return
    raise typer.Exit(subprocess.call([sys.executable, "-m", "xcomp_indexer.admin.verify_models", *wanted]))


@models.command()
def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A hub id or a local folder.", show_default=False)],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N, spread.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="auto, bf16, fp16, fp32.")] = "auto",
    json: options.Json = False,
) -> None:
    """Says what memory an InternLM-XComposer takes here; nothing is loaded, of a hub id only its configuration."""
    wanted = ("--device", device, "--precision", precision, *(("--json",) if json else ()))
    _run_model_command("plan", *wanted, "--", model)


@models.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A hub id or a local folder.", show_default=False)],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new folder.", show_default=False)],
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="bf16, fp16, fp32.")] = "fp16",
) -> None:
    """Writes an InternLM-XComposer as a clean safetensors folder that loads without conversion."""
    _run_model_command("convert", "--precision", precision, "--", source, str(destination))


def _run_model_command(*arguments: str) -> None:

    manager.require(COMPOSER)
    raise typer.Exit(subprocess.call([sys.executable, "-m", "xcomp_model.__main__", *arguments]))


def _as_json(model: Model) -> console.Json:
    fields = asdict(model)
    del fields["libraries"], fields["install"], fields["repository"], fields["is_embedder"]
    return {**fields, "installed": not model.describe_lack()}
