"""Caches the embedders in memory: loads each when the first request needs it, frees it when it is idle."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_protos.errors import Conflict, InvalidRequest, ModelError

log = logging.getLogger(__name__)

MAX_NAME_CHARACTERS = 256
MAX_MODELS = 16  # in memory; the one that was used longest ago makes room, its calls end in peace


class EmbedderCache:
    """Embedders in memory, each loaded once."""

    def __init__(self, load: Callable[[str], Embedder] = embed.load) -> None:
        self._load = load
        self._lock = threading.Lock()
        # By model, so that loading one does not delay another; with the number of callers.
        self._loading: dict[str, tuple[threading.Lock, int]] = {}
        self._loaded: dict[str, Embedder] = {}
        self._used: dict[str, float] = {}

    def get(self, model: str) -> Embedder:
        """Return an embedder; load it if it is not in memory, while other callers of the same model wait.

        Raises:
            InvalidRequest: no model has such a name.
            Conflict: it cannot be loaded, whatever the request says.
        """
        if len(model) > MAX_NAME_CHARACTERS or not model.isprintable():
            raise InvalidRequest(f"a name of a model has up to {MAX_NAME_CHARACTERS} printable characters")
        with self._turn(model):
            embedder = self._loaded.get(model) or self._load_model(model)
            with self._lock:
                self._loaded[model] = embedder
                self._used[model] = time.monotonic()
                self._make_room()
            return embedder

    @contextmanager
    def _turn(self, model: str) -> Iterator[None]:
        """Hold the lock of a model; nothing stays of it when the last caller has left."""
        with self._lock:
            lock, callers = self._loading.get(model) or (threading.Lock(), 0)
            self._loading[model] = lock, callers + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, callers = self._loading.pop(model)
                if callers > 1:
                    self._loading[model] = lock, callers - 1

    def _load_model(self, model: str) -> Embedder:
        started = time.monotonic()
        try:
            embedder = self._load(model)
        except ModelError as error:
            raise Conflict(str(error)) from error
        seconds = time.monotonic() - started
        log.info("event=model_loaded model=%s runs_on=%r seconds=%.1f", model, embedder.runs_on, seconds)
        return embedder

    def _make_room(self) -> None:
        while len(self._used) > MAX_MODELS:
            model = min(self._used, key=self._used.__getitem__)
            del self._loaded[model], self._used[model]
            log.info("event=model_freed model=%s", model)

    def names(self) -> list[str]:
        """Return the names of the models in memory."""
        with self._lock:
            return sorted(self._loaded)

    def engines(self) -> dict[str, str]:
        """Return what runs each model in memory: engine, device and precision."""
        with self._lock:
            return {name: embedder.runs_on for name, embedder in self._loaded.items()}

    def free_idle(self, after_s: float) -> bool:
        """Removes models from memory that were unused for `after_s` seconds; returns whether there were any."""
        with self._lock:
            unused = [name for name, used in self._used.items() if time.monotonic() - used > after_s]
            for model in unused:
                del self._loaded[model], self._used[model]
                log.info("event=model_freed model=%s", model)
            return bool(unused)
