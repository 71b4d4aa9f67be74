"""Caches the embedders in memory: loads each when the first request needs it, frees it when it is idle."""

import logging
import threading
import time
from collections.abc import Callable

from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_protos.errors import Conflict, ModelError

log = logging.getLogger(__name__)


class EmbedderCache:
    """Embedders in memory, each loaded once."""

    def __init__(self, load: Callable[[str], Embedder] = embed.load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}  # by model, so that loading one does not delay another
        self._loaded: dict[str, Embedder] = {}
        self._used: dict[str, float] = {}

    def get(self, model: str) -> Embedder:
        """Return an embedder; load it if it is not in memory, while other callers of the same model wait.

        Raises:
            Conflict: it cannot be loaded, whatever the request says.
        """
        with self._lock:
            loading = self._loading.setdefault(model, threading.Lock())
        with loading:
            embedder = self._loaded.get(model) or self._load_model(model)
            with self._lock:
                self._loaded[model] = embedder
                self._used[model] = time.monotonic()
            return embedder

    def _load_model(self, model: str) -> Embedder:
        started = time.monotonic()
        try:
            embedder = self._load(model)
        except ModelError as error:
            raise Conflict(str(error)) from error
        seconds = time.monotonic() - started
        log.info("event=model_loaded model=%s runs_on=%r seconds=%.1f", model, embedder.runs_on, seconds)
        return embedder

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
