"""Rebuilds the shard of a repository while it serves: on a copy, in a process of its own, exchanged in one step.

Points that are written meanwhile are noted by id and copied over at the end. The manifest names the current shard, so
that a crash at any moment leaves the old or the new one complete; opening the repository removes the other.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import qdrant_edge as qe

from xcomp_indexer.store import Step, validate
from xcomp_indexer.store.edge import files, manifest
from xcomp_indexer.store.edge.config import Layout
from xcomp_indexer.store.edge.shard import ROOM_BYTES, Journal, Shard, ShardHandle, check_room, translate_errors
from xcomp_protos.errors import Conflict, Exhausted, Unavailable
from xcomp_protos.machine import core_count

_UPDATE = qe.UpdateOperation
_YIELD_EACH_S = 0.5
_CARRIED_AT_ONCE = 2000  # points; writers wait meanwhile
_ROOM = 2.5  # times the shard: its copy, and the result with codes and graph


def rebuild(handle: ShardHandle, layout: Layout) -> Generator[Step, None, None]:
    """Yield each step when it begins, and the running step at intervals.

    Raises:
        Conflict: a rebuild is running already.
        Exhausted: the disk has not enough room.
        Unavailable: it failed; the repository is unchanged.
    """
    if not handle.rebuilding.acquire(blocking=False):
        raise Conflict(f"the repository in {handle.path} is being optimised already: wait until that has ended")
    try:
        yield from _Rebuild(handle, layout).run()
    finally:
        handle.rebuilding.release()


class _Rebuild:
    def __init__(self, handle: ShardHandle, layout: Layout) -> None:
        self._handle, self._layout = handle, layout
        self._draft = handle.path / manifest.next_shard(handle.manifest)
        self._began = time.monotonic()

    def run(self) -> Generator[Step, None, None]:
        self._check_room()
        try:
            yield self._step("copy")
            journal = self._copy()
            yield from self._build()
            yield self._step("carry over")
            old = self._exchange(journal)
        except BaseException:
            self._handle.discard(self._draft)
            raise
        try:
            yield self._step("clean up")
        finally:
            self._handle.retire(old)

    def _step(self, name: str) -> Step:
        return Step(name, time.monotonic() - self._began)

    def _check_room(self) -> None:
        needed = _ROOM * files.size_bytes(self._handle.path / self._handle.manifest.shard) + ROOM_BYTES
        free = shutil.disk_usage(self._handle.path).free
        if free < needed:
            raise Exhausted(
                f"to optimise the repository in {self._handle.path} takes {needed / 1e9:.1f} GB meanwhile, "
                f"and the disk has {free / 1e9:.1f} GB left: make room first"
            )

    def _copy(self) -> Journal:
        journal = Journal()
        files.remove(self._draft)
        try:
            with self._handle.writers:
                self._handle.copy(self._draft)
                self._handle.journal = journal
        except OSError as error:
            raise Exhausted(f"the copy of the repository in {self._handle.path} failed: {error.strerror}") from error
        return journal

    def _build(self) -> Generator[Step, None, None]:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            self._handle.builder = builder = subprocess.Popen(self._command(), stderr=said, text=True)
            try:
                while builder.poll() is None:
                    yield self._step("build")
                    _wait(builder, _YIELD_EACH_S)
            finally:
                builder.kill()
                builder.wait()
                self._handle.builder = None
            if builder.returncode:
                said.seek(0)
                raise Unavailable(_failure(self._handle.path, builder.returncode, said.read()))

    def _command(self) -> list[str]:
        spaces, layouts = json.dumps(dict(self._handle.manifest.spaces)), [self._layout]
        if (
            self._layout == "graph" and not self._handle.manifest.graph
        ):  # one graph over all points is the fastest to search
            layouts.insert(0, "merged")
        program = [sys.executable, "-m", "xcomp_indexer.store.edge.rebuild_worker", str(os.getpid())]
        return [*program, str(self._draft), spaces, str(core_count()), *layouts]

    def _exchange(self, journal: Journal) -> Shard:
        with translate_errors(self._handle.path):
            engine = qe.EdgeShard.load(str(self._draft))
        try:
            while len(journal.ids) > _CARRIED_AT_ONCE:
                with self._handle.writers:
                    self._carry(journal, engine)
                time.sleep(0)  # lets writers in between
            with self._handle.writers:
                while journal.shapes or journal.ids:
                    self._carry(journal, engine)
                with translate_errors(self._handle.path):
                    engine.flush()
                return self._handle.exchange(engine, self._draft, graph=self._layout == "graph")
        except BaseException:
            with translate_errors(self._handle.path):
                engine.close()
            raise

    def _carry(self, journal: Journal, engine: qe.EdgeShard) -> None:
        """Copy the current state of some points to the new shard; the caller holds the lock of writers."""
        check_room(self._handle.path)
        shapes, ids = journal.take(_CARRIED_AT_ONCE)
        with translate_errors(self._handle.path):
            for shape in shapes:
                engine.update(shape)
        for part in validate.batches(ids):
            with self._handle.use_engine() as serving:
                records = serving.retrieve([*part], True, True)
            points = [qe.Point(each.id, each.vector or {}, each.payload or {}) for each in records]
            gone = set(part) - {str(each.id) for each in records}
            with translate_errors(self._handle.path):
                if points:
                    engine.update(_UPDATE.upsert_points(points))
                if gone:
                    engine.update(_UPDATE.delete_points([*gone]))


def _wait(builder: "subprocess.Popen[str]", seconds: float) -> None:
    try:
        builder.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _failure(path: Path, status: int, said: str) -> str:
    why = f"it was ended by signal {-status}, perhaps because memory ran out" if status < 0 else _last_line(said)
    return f"to optimise the repository in {path} failed, and it is unchanged: {why}"


def _last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2] or "its process gave no reason"
