"""Texts to vectors for calls that come at the same time: one forward pass serves all that wait for the same model.

Whoever finds a model free leads: it encodes what waits, its own text with it, and hands the lead to the next in the
queue. So a lone call waits for nobody, and under load the batches grow by themselves. A call of several texts is a
batch already and stays one, so that the same request gives the same bits whoever else is there.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xcomp_indexer.embed import Embedder, Vectors
from xcomp_protos.transport import telemetry
from xcomp_protos.transport.errors import Cancelled, Exhausted

AT_ONCE = 32  # texts of a forward pass; more gain nothing on a CPU and would keep others waiting
LONGEST_QUEUE = 256  # calls that wait for one model
KEPT = 2048  # vectors of single texts that are remembered, 4 MB at 512 dimensions
KEPT_CHARACTERS = 1000  # longer texts are not asked twice

Gone = Callable[[], bool]


def nobody_leaves() -> bool:
    """Says of a caller in this process that it is not gone."""
    return False


@dataclass(eq=False)
class _Call:
    """A caller's texts, at most `AT_ONCE`, and what came of them once `ready` is set."""

    texts: Sequence[str]
    embedder: Embedder
    gone: Gone
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    vectors: Vectors | None = None
    error: BaseException | None = None


@dataclass
class _Lane:
    """The calls that wait for one model. It holds no model: an idle one must be free to go."""

    waiting: deque[_Call] = field(default_factory=deque)
    is_led: bool = False


class Texts:
    """Encodes texts with the models of a server, and remembers the latest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}  # by digest of the model
        self._kept: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()  # by digest and text

    def encode(self, embedder: Embedder, texts: Sequence[str], *, gone: Gone = nobody_leaves) -> Vectors:
        """Embeds texts, `[B, D]`; the caller whom `gone` calls gone is dropped while it waits.

        Raises:
            Exhausted: too many wait for this model already.
            Cancelled: the caller went away.
        """
        if len(texts) == 1:
            return self._single(embedder, texts[0], gone)[None]
        rows = [self._passed(embedder, texts[at : at + AT_ONCE], gone) for at in range(0, len(texts), AT_ONCE)]
        return np.concatenate(rows) if rows else np.empty((0, embedder.dimension), np.float32)

    def _single(self, embedder: Embedder, text: str, gone: Gone) -> NDArray[np.float32]:
        key = (embedder.digest, text)
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        telemetry.count("cache_lookups", 1, "text", "miss" if known is None else "hit")
        if known is not None:
            return known
        row: NDArray[np.float32] = self._passed(embedder, [text], gone)[0].copy()
        row.flags.writeable = False
        if len(text) <= KEPT_CHARACTERS:
            with self._lock:
                self._kept[key] = row
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        return row

    def _passed(self, embedder: Embedder, texts: Sequence[str], gone: Gone) -> Vectors:
        """Waits for a forward pass over these texts, or makes it."""
        call = _Call(texts, embedder, gone)
        with self._lock:
            lane = self._lanes.setdefault(embedder.digest, _Lane())
            if len(lane.waiting) >= LONGEST_QUEUE:
                raise Exhausted(f"{len(lane.waiting)} calls wait for {embedder.name}: try again in a second")
            lane.waiting.append(call)
            call.leads, lane.is_led = not lane.is_led, True
        if not call.leads:
            with telemetry.waiting("texts"):
                call.ready.wait()
        if call.leads:
            self._lead(lane, call)
        if call.error:
            raise call.error
        assert call.vectors is not None
        return call.vectors

    def _lead(self, lane: _Lane, own: _Call) -> None:
        """Encodes until the leader's own texts are done, then lets the next one lead."""
        own.ready.clear()
        try:
            while not own.ready.is_set():
                self._run(self._taken(lane))
        finally:
            with self._lock:
                lane.is_led = bool(lane.waiting)
                if lane.waiting:
                    lane.waiting[0].leads = True
                    lane.waiting[0].ready.set()

    def _taken(self, lane: _Lane) -> list[_Call]:
        """Takes the first call out of the queue, and with a single text all other single ones that fit."""
        with self._lock:
            calls = list(lane.waiting)
            first = calls[0]
            alike = [call for call in calls if len(call.texts) == 1][:AT_ONCE] if len(first.texts) == 1 else [first]
            for call in alike:
                lane.waiting.remove(call)
        return alike

    def _run(self, calls: Sequence[_Call]) -> None:
        """Makes one forward pass; what goes wrong in it belongs to everyone who waits for it."""
        left = [call for call in calls if not call.gone()]
        texts = list(dict.fromkeys(text for call in left for text in call.texts))
        error: BaseException = Cancelled("the caller went away")
        vectors: dict[str, NDArray[np.float32]] = {}
        try:
            if texts:
                vectors = dict(zip(texts, left[0].embedder.encode_texts(texts), strict=True))
        except BaseException as raised:  # noqa: BLE001  # raised again in each thread that waits
            error = raised
        for call in calls:
            if vectors and call in left:
                call.vectors = np.stack([vectors[text] for text in call.texts])
            else:
                call.error = error
            call.ready.set()
