"""Exports a repository as a stream of bytes, and imports it, for backups, another server or another store.

JSON Lines in UTF-8: a header, a line for each point, and a last line with their number. docs/repositories.md describes
the keys. Vectors are float32, little-endian, in base64; image files are not included. Ids are computed again on import,
so that a repository may get another name and still know its files.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.ingest import failure_log, points
from xcomp_indexer.repository import image_record, spaces
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import ImagePayload
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.spaces import RepositoryConfig
from xcomp_indexer.store import Point, ScoredPoint
from xcomp_indexer.store.compactor import BackgroundCompactor
from xcomp_indexer.store.validate import BATCH
from xcomp_protos.errors import InvalidRequest

FORMAT = 2  # 1 has only the spaces of the profile
MAX_LINE_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 512 * 1024  # lines are yielded in pieces of this size


def export_repository(repository: Repository) -> Iterator[bytes]:
    """Yields a repository in pieces of whole lines."""
    piece, count = bytearray(_line(_header(repository))), 0
    for point in repository.store.scan(vectors=True):
        piece += _line(_entry(point))
        count += 1
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + _line({"points": count}))


def import_repository(catalog: RepositoryCatalog, name: str, reader: "ExportReader") -> Repository:
    """Creates a repository from an export, completely or not at all; loads no model.

    Raises:
        Exists: there is a repository of this name.
        InvalidRequest: a line cannot be used.
    """
    with catalog.create_for_import(name, reader.record) as store:
        points, compactor = reader.points(name), BackgroundCompactor(store, name)
        while batch := list(islice(points, BATCH)):
            store.upsert(batch)
            _drain(compactor.keep_up())
        _drain(compactor.wait())
        store.flush()
        # Last: a repository without a record of its models, as left by a crash, can only be deleted.
        store.set_meta({"importing": None, **reader.record.write()})
    return catalog.get(name)


def _drain(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


class ExportReader:
    """Reads an export, in pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Reads the header.

        Raises:
            InvalidRequest: the header is missing, or a newer version wrote it.
        """
        self._lines = enumerate(_split_lines(pieces), start=1)
        self.record = self._read_header()

    def points(self, repository: str) -> Iterator[Point]:
        """Yields the points, with their ids in a repository of this name.

        Raises:
            InvalidRequest: a line cannot be used, or the end is missing; the message names the line.
        """
        count = 0
        for number, line in self._lines:
            values = _parse_object(line, number)
            if "points" in values:
                if values["points"] != count or next(self._lines, None):
                    raise InvalidRequest(
                        f"line {number} ends the file after {values['points']} points: {count} came, or more follows"
                    )
                return
            yield _parse_point(values, number, repository)
            count += 1
        raise InvalidRequest(f"the file ends after {count} points without its last line: export it again")

    def _read_header(self) -> RepositoryConfig:
        values = _parse_object(next(self._lines, (1, b""))[1], 1)
        if values.get("xcomp") != "repository":
            raise InvalidRequest("line 1 is not the header of an exported repository")
        if not isinstance(values.get("format"), int) or int(str(values["format"])) > FORMAT:
            raise InvalidRequest(
                f"the file has format {values.get('format')}, this version reads up to {FORMAT}: upgrade xcomp"
            )
        try:
            return spaces.parse_config(values)
        except ValueError as error:
            raise InvalidRequest(
                f"line 1 names profile {values.get('profile')!r} and models that this version does not have: {error}"
            ) from None


def _header(repository: Repository) -> Mapping[str, object]:
    return {"xcomp": "repository", "format": FORMAT, "name": repository.name, **repository.record.write()}


def _entry(point: ScoredPoint) -> Mapping[str, object]:
    encoded = {
        space: base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode() for space, vector in point.vectors.items()
    }
    return {"id": point.id, "payload": point.payload, "vectors": encoded}


def _parse_point(values: Mapping[str, object], number: int, repository: str) -> Point:
    payload, vectors = values.get("payload"), values.get("vectors")
    if not isinstance(payload, dict) or not isinstance(vectors, dict):
        raise InvalidRequest(f"line {number} has no payload or no vectors")
    try:
        if image_record.is_failure(ScoredPoint("", 0.0, payload)):
            return failure_log.to_point(payload, repository)
        content = ImagePayload.read(payload)
        decoded = {str(space): _decode_vector(text) for space, text in vectors.items()}
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise InvalidRequest(f"line {number} cannot be used: {type(error).__name__} {error}") from None
    return Point(points.image_id(repository, str(content.path)), decoded, content.write())


def _decode_vector(text: object) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(str(text), validate=True), "<f4").astype(np.float32)


def _line(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parse_object(line: bytes, number: int) -> dict[str, object]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"line {number} is not JSON") from None
    if not isinstance(values, dict):
        raise InvalidRequest(f"line {number} is not a JSON object")
    return values


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            raise InvalidRequest(f"a line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    if rest:
        yield rest
