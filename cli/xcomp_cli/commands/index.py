"""`xcomp index`: brings a repository up to date with files and folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import options
from xcomp_cli.indexing.fetch import choose_profile
from xcomp_cli.indexing.run import IngestJob, IngestOutcome, run_ingest
from xcomp_cli.indexing.watch import follow_changes
from xcomp_cli.local_server import clients
from xcomp_cli.output import console
from xcomp_cli.output.message_json import to_json
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.errors import InvalidRequest

SERVER_PATH = "server:"
SHOWN_FAILURES = 20


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folders and images; server:/photos is a path of the indexer's machine.",
            show_default=False,
        ),
    ],
    repo: options.Repo = "default",
    profile: options.Profile = "",
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Remove images whose file is gone: always, or never. By default unless suspiciously many are gone.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would happen, change nothing.")] = False,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave these out; may be repeated.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read only the files that failed before, touched since or not.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: follow the PATHs, and take in what changes, until ^C.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 if a file was skipped.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Brings a repository up to date with folders and files.

    It sees what is new, changed, renamed or deleted, and embeds only what it does not know yet. Deletions are seen only
    under the PATHs given. Files that are no readable image are named and skipped, and read again once they change.
    To an indexer at host:port files of this machine are uploaded; what it knows is not sent again.
    """

    own = [path for path in paths if clients.is_remote(indexer) and not path.startswith(SERVER_PATH)]
    if own:
        _check_upload(own[0], {"--prune": prune, "--dry-run": dry_run, "--retry-failed": retry_failed})
    if watch:
        _check_watch(paths, {"--json": json, "--dry-run": dry_run, "--retry-failed": retry_failed})
    absolute = {path: _to_absolute(path) for path in paths}
    if not indexer:
        profile = choose_profile(repo, profile)
    request = pb.IngestRequest(
        repository=repo,
        paths=[absolute[path] for path in paths if path not in own],
        profile=profile,
        prune=prune,
        dry_run=dry_run,
        exclude=exclude or (),
        retry_failed=retry_failed,
    )
    job = IngestJob(indexer, request, [absolute[path] for path in own])
    outcome = run_ingest(job)
    if json:
        console.print_json(_as_json(outcome))
    else:
        _show(outcome, dry_run=dry_run)
    _warn(outcome, everything=json, retried=retry_failed)
    if watch:
        _keep_up(job, outcome)
    raise typer.Exit(_status(outcome, single=all(map(os.path.isfile, paths)), strict=strict))


def _check_upload(path: str, flags: Mapping[str, bool | None]) -> None:

    for flag in (flag for flag, value in flags.items() if value):
        raise InvalidRequest(
            f"{flag} works with files that the indexer sees, as in {SERVER_PATH}/folder: {path!r} would be uploaded"
        )


def _check_watch(paths: Sequence[str], flags: Mapping[str, bool]) -> None:

    for flag in (flag for flag, value in flags.items() if value):
        raise InvalidRequest(f"--watch ends only with ^C: omit {flag}")
    for path in (path for path in paths if path.startswith(SERVER_PATH)):
        raise InvalidRequest(f"--watch follows folders of this machine: {path!r} is on another")


def _keep_up(job: IngestJob, outcome: IngestOutcome) -> None:

    def show(outcome: IngestOutcome) -> None:
        _show(outcome, dry_run=False)
        _warn(outcome, everything=False, retried=False)

    follow_changes(job, outcome, show=show)


def _to_absolute(path: str) -> str:

    if path.startswith(SERVER_PATH):
        return path.removeprefix(SERVER_PATH)
    if not path or not Path(path).exists():
        raise InvalidRequest(f"no such file or folder: {path!r}")
    if not path.isprintable() and any(0xDC80 <= ord(letter) <= 0xDCFF for letter in path):
        raise InvalidRequest(f"the name {path!r} is not UTF-8: index the folder above it")
    return os.path.abspath(path)  # noqa: PTH100  # pathlib would keep the '..'


def _as_json(outcome: IngestOutcome) -> console.Json:
    counts = ("repository", "scanned", "added", "updated", "unchanged", "renamed", "removed", "removable")
    return {
        **to_json(outcome.summary, *counts),
        "failed": [to_json(failure) for failure in outcome.failures],
        **to_json(outcome.summary, "seconds", "images_per_second", "stages"),
    }


def _show(outcome: IngestOutcome, *, dry_run: bool) -> None:
    summary = outcome.summary
    counts = (
        (summary.added, "added"),
        (summary.updated, "updated"),
        (summary.renamed, "renamed"),
        (summary.removed, "removed"),
        (summary.unchanged, "unchanged"),
        (len(outcome.failures), "skipped"),
    )
    said = " · ".join(f"{count} {word}" for count, word in counts if count) or "nothing to do"
    name = console.strong(console.printable(summary.repository))
    speed = f", {summary.images_per_second:.1f} images/s" if summary.images_per_second else ""
    prefix = "would be: " if dry_run else ""
    console.print_result(f"{name}: {prefix}{said} {console.faint(f'({summary.seconds:.1f} s{speed})')}")


def _warn(outcome: IngestOutcome, *, everything: bool, retried: bool) -> None:
    """Prints what a person has to know beside the counts; the JSON already has the failures."""
    summary = outcome.summary
    shown = [] if everything else outcome.failures[:SHOWN_FAILURES]
    for failure in shown:
        console.warn(f"skipped {console.printable(failure.path)}: {console.printable(failure.message)}")
    if not everything and len(outcome.failures) > SHOWN_FAILURES:
        console.warn(f"and {len(outcome.failures) - SHOWN_FAILURES} more: --json lists them all")
    if not summary.scanned:
        console.note("no file there failed before" if retried else "no images were found there")
    if summary.removable:
        count = console.format_count(summary.removable, "image")
        console.warn(
            f"gone: {count}, which is suspiciously many: none was removed. If that is right, run again with --prune"
        )
    if summary.notice:
        console.warn(console.printable(summary.notice))


def _status(outcome: IngestOutcome, *, single: bool, strict: bool) -> int:
    summary = outcome.summary
    if summary.removable:
        return console.PARTIAL
    present = summary.added + summary.updated + summary.renamed + summary.unchanged
    if single and outcome.failures and not present:
        return 1
    return console.PARTIAL if strict and outcome.failures else 0
