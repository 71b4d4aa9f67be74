"""`xcomp repo export` and `import`: a repository as one file, read and written piece by piece."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated

import typer

from xcomp_cli import options
from xcomp_cli.commands.repo.basics import Name
from xcomp_cli.local_server import clients
from xcomp_cli.output import console, progress
from xcomp_cli.output.message_json import to_json
from xcomp_cli.output.repositories import line
from xcomp_protos.errors import Conflict, InvalidRequest, XcompError

PIECE_BYTES = 512 * 1024


def export(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; with .gz it is compressed.")],
    indexer: options.Indexer = "",
) -> None:
    """Writes a repository into a file: vectors and all that is known about its images.

    The image files stay where they are. The format is JSON Lines; docs/repositories.md describes it.
    """

    if file.exists():
        raise Conflict(f"{file} exists already: choose another name")
    draft = file.with_name(f"{file.name}.part")
    try:
        with clients.indexer(indexer) as client, progress.show_wait("exporting"), _open(draft, file, "wb") as target:
            for piece in client.export(options.parse_text(name, name="name")):
                target.write(piece)
        draft.rename(file)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    size_mb = file.stat().st_size / 1e6
    console.print_result(f"{console.printable(name)}: written to {console.printable(str(file))}, {size_mb:.1f} MB")


def import_(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote.", exists=True, dir_okay=False)],
    json: options.Json = False,
    indexer: options.Indexer = "",
) -> None:
    """Makes a repository from an exported file, completely or not at all; embeds nothing.

    This also moves a repository from one store to another.
    """

    errors: list[Exception] = []
    try:
        with clients.indexer(indexer) as client, progress.show_wait("importing"):
            repository = client.import_(options.parse_text(name, name="name"), _read_pieces(file, errors))
    except XcompError:
        if errors:  # the indexer only saw that the stream ended too early
            raise InvalidRequest(f"{file} cannot be read: {errors[0]}") from None
        raise
    if json:
        console.print_json(to_json(repository))
    else:
        console.print_result(line(repository))


def _read_pieces(file: Path, errors: list[Exception]) -> Iterator[bytes]:
    """Yields the file in pieces; collects exceptions in `errors`, because gRPC would swallow them."""
    try:
        with _open(file, file, "rb") as source:
            while piece := source.read(PIECE_BYTES):
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        errors.append(error)


def _open(file: Path, name: Path, mode: str) -> IO[bytes] | gzip.GzipFile:
    """Opens a file, compressed if `name` says so."""
    if name.suffix == ".gz":
        return gzip.open(file, "wb", compresslevel=1) if mode == "wb" else gzip.open(file, "rb")
    return file.open("wb") if mode == "wb" else file.open("rb")
