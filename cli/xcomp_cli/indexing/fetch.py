"""Fetches the weights of models in a process of their own, and offers it where a command lacks them.

Weights come here in this way only: a person runs `xcomp models pull`, or answers the question of `xcomp index`.
"""

import subprocess
import sys
from collections.abc import Sequence

import typer

from xcomp_cli.local_server import clients, manager
from xcomp_cli.local_server.process import COMPOSER, INDEXER
from xcomp_cli.model_catalog import DEFAULT_PROFILE, Model, explain_lack, format_size, list_lacking
from xcomp_cli.output import console
from xcomp_protos.errors import InvalidRequest, ModelError, NotFound

OFFLINE_PROFILE = "lite"  # needs no download
END_S = 5.0  # in which an interrupted fetch has to end
_WITHOUT_DOWNLOAD = f"or use --profile {OFFLINE_PROFILE}, which needs no download"


def fetch(names: Sequence[str], *, keep: bool = False) -> int:
    """Fetches models, or all models of a profile; returns the exit status of the process that fetches."""
    composing = [name for name in names if name.startswith("internlm")]
    embedding = [name for name in names if name not in composing]
    status, kept = 0, ("--keep",) if keep else ()
    if embedding:
        manager.require(INDEXER)
        status = _run("xcomp_indexer.admin.pull_models", *kept, *embedding)
    if composing and not status:
        manager.require(COMPOSER)
        status = _run("xcomp_model.__main__", "pull", "--", *composing)
    return status


def choose_profile(repository: str, profile: str) -> str:
    """Returns the profile for an ingest by the local indexer; asks a person if its models are not on this machine.

    Args:
        repository: the repository; if it exists, its own profile counts.
        profile: what the user named, or nothing.

    Raises:
        ModelError: the models are missing, and no person answers or wants them.
    """
    recorded = "" if profile else _recorded_profile(repository)
    wanted = profile or recorded or DEFAULT_PROFILE
    lacking = list_lacking(wanted)
    if not lacking:
        return profile
    has_choice = not (profile or recorded) and not list_lacking(OFFLINE_PROFILE)
    refusal = explain_lack(wanted, lacking) + (f", {_WITHOUT_DOWNLOAD}" if has_choice else "")
    if not console.is_asking() or any(model.missing_libraries() for model in lacking):
        raise ModelError(refusal)
    answer = _ask(wanted, lacking, has_choice=has_choice)
    if answer == OFFLINE_PROFILE:
        return OFFLINE_PROFILE
    if answer != "fetch" or fetch([wanted], keep=True):
        raise ModelError(refusal)
    return profile


def _recorded_profile(repository: str) -> str:
    """Returns the profile of a repository of the local indexer; nothing if it does not exist."""
    with clients.indexer("") as client:
        try:
            found = client.describe(repository).repositories
        except (InvalidRequest, NotFound):  # the ingest says what is wrong with a name
            return ""
    return found[0].profile if found else ""


def _ask(profile: str, lacking: Sequence[Model], *, has_choice: bool) -> str:
    """Asks what to do about missing models; returns `fetch`, `lite`, or something else for neither."""
    size = format_size(lacking)
    console.note(f"The models of profile {profile} are not on this machine.")
    console.note(f"  f  fetch them now, once{f' ({size})' if size else ''}")
    if has_choice:
        console.note(f"  l  use profile {OFFLINE_PROFILE}: no download, 1000 everyday classes")
    console.note("  q  do nothing")
    letters = ["f", *("l" if has_choice else ""), "q"]
    answer = typer.prompt(f"Which one? [{'/'.join(letters)}]", default="f", show_default=False, err=True)
    return {"f": "fetch", "l": OFFLINE_PROFILE if has_choice else ""}.get(answer.strip().lower()[:1], "")


def _run(module: str, *arguments: str) -> int:
    """Runs a module in a process group of its own, so that ^C reaches this command alone, which ends it silently."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], process_group=0)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
