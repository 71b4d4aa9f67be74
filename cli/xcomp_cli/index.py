"""`xcomp index`: brings a repository up to date with files and folders."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomp_cli import display, options

if TYPE_CHECKING:
    from xcomp_protos import indexer_pb2 as pb
    from xcomp_protos.client import IndexerClient

SERVER_PATH = "server:"
SHOWN_FAILURES = 20
PARTIAL = 3


@dataclass
class Outcome:
    """What an ingest ended with."""

    summary: "pb.IngestSummary"
    failures: list["pb.IngestFailure"] = field(default_factory=list)


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folders and pictures; server:/photos is a path of the indexer's machine.",
            show_default=False,
        ),
    ],
    repo: options.Repo = "default",
    profile: options.Profile = "",
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Remove pictures whose file is gone: always, or never. By default unless suspiciously many are gone.",
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
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 if a file was skipped.")] = False,
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Brings a repository up to date with folders and files.

    It sees what is new, changed, renamed or deleted, and embeds only what it does not know yet. Deletions are seen only
    under the PATHs given. Files that are no readable picture are named and skipped, and read again once they change.
    To an indexer at host:port files of this machine are uploaded; what it knows is not sent again.
    """
    from xcomp_cli import connect
    from xcomp_protos import indexer_pb2 as pb

    own = [path for path in paths if connect.is_remote(indexer) and not path.startswith(SERVER_PATH)]
    if own:
        _check_upload(own[0], {"--prune": prune, "--dry-run": dry_run, "--retry-failed": retry_failed})
    request = pb.IngestRequest(
        repository=repo,
        paths=[_absolute(path) for path in paths if path not in own],
        profile=profile,
        prune=prune,
        dry_run=dry_run,
        exclude=exclude or (),
        retry_failed=retry_failed,
    )
    with connect.indexer(indexer) as client:
        outcome = _follow(client.ingest(request)) if request.paths else Outcome(pb.IngestSummary(repository=repo))
        if own:
            _upload(client, [_absolute(path) for path in own], request, outcome)
    if json:
        display.print_json(_as_json(outcome))
    else:
        _show(outcome, dry_run=dry_run)
    _warn(outcome, everything=json, retried=retry_failed)
    raise typer.Exit(_status(outcome, single=all(map(os.path.isfile, paths)), strict=strict))


def _check_upload(path: str, flags: Mapping[str, bool | None]) -> None:
    from xcomp_protos.transport.errors import InvalidRequest

    for flag in (flag for flag, value in flags.items() if value):
        raise InvalidRequest(
            f"{flag} goes with files that the indexer sees, as in {SERVER_PATH}/folder: {path!r} would be uploaded"
        )


def _upload(client: "IndexerClient", paths: Sequence[str], request: "pb.IngestRequest", outcome: Outcome) -> None:
    """Uploads files of this machine, and adds what came of it to the outcome."""
    from xcomp_cli.upload import upload
    from xcomp_protos import indexer_pb2 as pb

    header = pb.UploadHeader(repository=request.repository, profile=request.profile)
    try:
        done = upload(client, paths, header=header, exclude=request.exclude, report=outcome.failures.append)
    except KeyboardInterrupt:
        display.note("what is uploaded stays; the same command goes on from there")
        raise
    total = outcome.summary
    for name in ("scanned", "added", "updated", "unchanged", "failed", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(done, name))
    total.images_per_second = total.images_per_second or done.images_per_second
    total.stages.update(done.stages)


def _absolute(path: str) -> str:
    from xcomp_protos.transport.errors import InvalidRequest

    if path.startswith(SERVER_PATH):
        return path.removeprefix(SERVER_PATH)
    if not path or not Path(path).exists():
        raise InvalidRequest(f"no such file or folder: {path!r}")
    if not path.isprintable() and any(0xDC80 <= ord(letter) <= 0xDCFF for letter in path):
        raise InvalidRequest(f"the name {path!r} is not UTF-8: index the folder above it")
    return os.path.abspath(path)  # noqa: PTH100  # pathlib keeps the '..'


def _follow(events: "Iterable[pb.IngestEvent]") -> Outcome:
    from xcomp_protos.transport.errors import Unavailable

    failures: list[pb.IngestFailure] = []
    try:
        with display.progress("images") as advance:
            advance(0, 0, what="looking for pictures")
            for event in events:
                kind = event.WhichOneof("event")
                if kind == "summary":
                    return Outcome(event.summary, failures)
                if kind == "failure":
                    failures.append(event.failure)
                elif event.progress.total:
                    advance(event.progress.done, event.progress.total, what="indexing")
                else:
                    advance(0, 0, what=f"looking for pictures: {event.progress.scanned}")
    except KeyboardInterrupt:
        display.note("what is indexed stays; the same command goes on from there")
        raise
    raise Unavailable("the indexer ended before its summary: run the command again")


def _as_json(outcome: Outcome) -> display.Json:
    summary = outcome.summary
    return {
        "repository": summary.repository,
        "scanned": summary.scanned,
        "added": summary.added,
        "updated": summary.updated,
        "unchanged": summary.unchanged,
        "renamed": summary.renamed,
        "removed": summary.removed,
        "removable": summary.removable,
        "failed": [{"path": f.path, "reason": f.reason, "message": f.message} for f in outcome.failures],
        "seconds": summary.seconds,
        "images_per_second": summary.images_per_second,
        "stages": dict(sorted(summary.stages.items())),
    }


def _show(outcome: Outcome, *, dry_run: bool) -> None:
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
    name = display.strong(display.printable(summary.repository))
    speed = f", {summary.images_per_second:.1f} images/s" if summary.images_per_second else ""
    prefix = "would be: " if dry_run else ""
    display.result(f"{name}: {prefix}{said} {display.faint(f'({summary.seconds:.1f} s{speed})')}")


def _warn(outcome: Outcome, *, everything: bool, retried: bool) -> None:
    """Says what a person has to know beside the counts; in JSON the failures stand already."""
    summary = outcome.summary
    shown = [] if everything else outcome.failures[:SHOWN_FAILURES]
    for failure in shown:
        display.warn(f"skipped {display.printable(failure.path)}: {display.printable(failure.message)}")
    if not everything and len(outcome.failures) > SHOWN_FAILURES:
        display.warn(f"and {len(outcome.failures) - SHOWN_FAILURES} more: --json lists them all")
    if not summary.scanned:
        display.note("no file there failed before" if retried else "no pictures were found there")
    if summary.removable:
        display.warn(
            f"{summary.removable} pictures are gone, which is suspiciously many: none was removed. "
            "If they are gone for good, run again with --prune"
        )


def _status(outcome: Outcome, *, single: bool, strict: bool) -> int:
    summary = outcome.summary
    if summary.removable:
        return PARTIAL
    present = summary.added + summary.updated + summary.renamed + summary.unchanged
    if single and outcome.failures and not present:
        return 1
    return PARTIAL if strict and outcome.failures else 0
