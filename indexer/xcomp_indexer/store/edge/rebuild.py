"""Rebuilds the shard of a repository while it serves: on a copy, in a process of its own, and exchanged in one step.

What is written meanwhile is remembered by id and carried over, as it is by then. The manifest names the shard that
counts, so that a crash at any moment leaves the old one or the new one whole; opening removes the other.
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
from xcomp_indexer.store.edge.shard import ROOM_BYTES, Journal, Shard, ShardHandle, check_room, translated
from xcomp_protos.errors import Conflict, Exhausted, Unavailable
from xcomp_protos.machine import core_count

_UPDATE = qe.UpdateOperation
_TOLD_EACH_S = 0.5
_CARRIED_AT_ONCE = 2000  # points; writers wait so long
_ROOM = 2.5  # times the shard: its copy, and what becomes of it with codes and graph


def rebuild(held: ShardHandle, layout: Layout) -> Generator[Step, None, None]:
    """Yields what it is about to do, and now and then how long it has been at it.

    Raises:
        Conflict: it is being done already.
        Exhausted: there is no room for it on the disk.
        Unavailable: it failed, and the repository is as it was.
    """
    if not held.rebuilding.acquire(blocking=False):
        raise Conflict(f"the repository in {held.path} is being optimised already: wait until that has ended")
    try:
        yield from _Rebuild(held, layout).run()
    finally:
        held.rebuilding.release()


class _Rebuild:
    def __init__(self, held: ShardHandle, layout: Layout) -> None:
        self._held, self._layout = held, layout
        self._draft = held.path / manifest.next_shard(held.manifest)
        self._began = time.monotonic()

    def run(self) -> Generator[Step, None, None]:
        self._check_room()
        try:
            yield self._step("copy")
            journal = self._copied()
            yield from self._built()
            yield self._step("carry over")
            old = self._exchanged(journal)
        except BaseException:
            self._held.discard(self._draft)
            raise
        try:
            yield self._step("clean up")
        finally:
            self._held.retire(old)

    def _step(self, name: str) -> Step:
        return Step(name, time.monotonic() - self._began)

    def _check_room(self) -> None:
        needed = _ROOM * files.size_bytes(self._held.path / self._held.manifest.shard) + ROOM_BYTES
        free = shutil.disk_usage(self._held.path).free
        if free < needed:
            raise Exhausted(
                f"to optimise the repository in {self._held.path} takes {needed / 1e9:.1f} GB for a while, "
                f"and the disk has {free / 1e9:.1f} GB left: make room first"
            )

    def _copied(self) -> Journal:
        journal = Journal()
        files.remove(self._draft)
        try:
            with self._held.writers:
                self._held.copy(self._draft)
                self._held.journal = journal
        except OSError as error:
            raise Exhausted(f"the copy of the repository in {self._held.path} failed: {error.strerror}") from error
        return journal

    def _built(self) -> Generator[Step, None, None]:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            self._held.builder = builder = subprocess.Popen(self._command(), stderr=said, text=True)
            try:
                while builder.poll() is None:
                    yield self._step("build")
                    _wait(builder, _TOLD_EACH_S)
            finally:
                builder.kill()
                builder.wait()
                self._held.builder = None
            if builder.returncode:
                said.seek(0)
                raise Unavailable(_failure(self._held.path, builder.returncode, said.read()))

    def _command(self) -> list[str]:
        spaces, layouts = json.dumps(dict(self._held.manifest.spaces)), [self._layout]
        if self._layout == "graph" and not self._held.manifest.graph:  # one graph of all is found in fastest
            layouts.insert(0, "merged")
        program = [sys.executable, "-m", "xcomp_indexer.store.edge.rebuild_worker", str(os.getpid())]
        return [*program, str(self._draft), spaces, str(core_count()), *layouts]

    def _exchanged(self, journal: Journal) -> Shard:
        with translated(self._held.path):
            engine = qe.EdgeShard.load(str(self._draft))
        try:
            while len(journal.ids) > _CARRIED_AT_ONCE:
                with self._held.writers:
                    self._carry(journal, engine)
                time.sleep(0)  # lets writers in between
            with self._held.writers:
                while journal.shapes or journal.ids:
                    self._carry(journal, engine)
                with translated(self._held.path):
                    engine.flush()
                return self._held.exchange(engine, self._draft, graph=self._layout == "graph")
        except BaseException:
            with translated(self._held.path):
                engine.close()
            raise

    def _carry(self, journal: Journal, engine: qe.EdgeShard) -> None:
        """Brings some points of the copy to what they are now; nobody writes meanwhile."""
        check_room(self._held.path)
        shapes, ids = journal.take(_CARRIED_AT_ONCE)
        with translated(self._held.path):
            for shape in shapes:
                engine.update(shape)
        for part in validate.batches(ids):
            with self._held.reading() as serving:
                records = serving.retrieve([*part], True, True)
            points = [qe.Point(each.id, each.vector or {}, each.payload or {}) for each in records]
            gone = set(part) - {str(each.id) for each in records}
            with translated(self._held.path):
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
    why = f"it was ended by signal {-status}, perhaps for want of memory" if status < 0 else _last_line(said)
    return f"to optimise the repository in {path} failed, and it is as it was: {why}"


def _last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2] or "the process that does it gave no reason"
