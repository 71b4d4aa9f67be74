"""Texts of concurrent calls are encoded together; each call gets its own vectors or its own error."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from tests.fakes import CountingEmbedder
from tests.nearness import ELEMENTWISE, assert_close
from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.search import batcher, text_encoder
from xcomp_indexer.search.batcher import is_never_cancelled
from xcomp_indexer.search.text_encoder import MAX_BATCH, MAX_BATCH_CHARACTERS, TextEncoder
from xcomp_protos.errors import Cancelled, Exhausted, ModelError


class SlowEmbedder(CountingEmbedder):
    """Makes every forward pass wait for a sign and records its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[list[str]] = []
        self.sign = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.broken = False

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.passes.append(list(texts))
        self.begun.release()
        assert self.sign.acquire(timeout=60)
        if self.broken:
            raise ModelError("the model is broken")
        return super().encode_texts(texts)


def words(count: int) -> list[str]:
    names = ("red", "blue", "green", "white")
    return [f"{names[at % 4]} {at}" for at in range(count)]


class Crowd:
    """Callers that wait while another one uses the model."""

    def __init__(self) -> None:
        self.embedder, self.encoder = SlowEmbedder(), TextEncoder()
        self._pool = ThreadPoolExecutor(64)
        self.first = self._pool.submit(self.encoder.encode, self.embedder, ["first"])
        assert self.embedder.begun.acquire(timeout=60)

    def call(self, *asked: str, is_cancelled: Callable[[], bool] = is_never_cancelled) -> "Future[Vectors]":
        """Return when the call is in the queue or was refused."""
        before = self.waiting()
        future = self._pool.submit(self.encoder.encode, self.embedder, asked, is_cancelled=is_cancelled)
        while not future.done() and self.waiting() == before:
            threading.Event().wait(0.001)
        return future

    def waiting(self) -> int:
        return sum(len(batcher) for batcher in self.encoder._batchers.values())

    def go(self, passes: int = 100) -> None:
        self.embedder.sign.release(passes)


def alone(asked: Sequence[str]) -> Vectors:
    return CountingEmbedder().encode_texts(asked)


def test_single_texts_that_wait_share_a_forward_pass_and_get_their_own_vectors() -> None:
    crowd = Crowd()
    asked = words(40)
    futures = [crowd.call(word) for word in asked]
    crowd.go()
    for word, future in zip(asked, futures, strict=True):
        assert np.allclose(future.result(60), alone([word]), atol=1e-6)
    assert [len(each) for each in crowd.embedder.passes] == [1, MAX_BATCH, 40 - MAX_BATCH]
    assert crowd.waiting() == 0


def test_a_text_of_several_callers_is_encoded_once() -> None:
    crowd = Crowd()
    futures = [crowd.call("red") for _ in range(5)]
    crowd.go()
    assert len({future.result(60).tobytes() for future in futures}) == 1
    assert_close(futures[0].result(), alone(["red"]), atol=ELEMENTWISE)
    assert crowd.embedder.passes == [["first"], ["red"]]


def test_a_call_of_several_texts_keeps_its_batches() -> None:
    crowd = Crowd()
    several = words(MAX_BATCH + 3)
    batch, single = crowd.call(*several), crowd.call("red")
    crowd.go()
    assert_close(batch.result(60), alone(several), atol=ELEMENTWISE)
    assert single.result(60).shape == (1, 12)
    assert sorted(crowd.embedder.passes[1:]) == sorted([several[:MAX_BATCH], several[MAX_BATCH:], ["red"]])


def test_long_texts_of_a_call_are_encoded_in_small_batches_until_it_is_cancelled() -> None:
    crowd = Crowd()
    has_left = threading.Event()
    long = [f"{word} ".ljust(MAX_BATCH_CHARACTERS // 2) for word in words(5)]
    kept, left = crowd.call(*long), crowd.call(*long, is_cancelled=has_left.is_set)
    crowd.go(2)  # what came first, and the first batch of one of them
    assert crowd.embedder.begun.acquire(timeout=60)
    has_left.set()
    crowd.go()
    assert_close(kept.result(60), alone(long), atol=ELEMENTWISE)
    with pytest.raises(Cancelled):
        left.result(60)
    assert all(each == ["first"] or len(each) <= 2 for each in crowd.embedder.passes)
    assert len(crowd.embedder.passes) <= 1 + 3 + 1


def test_a_cancelled_call_is_dropped_and_the_others_are_served() -> None:
    crowd = Crowd()
    left, stayed = crowd.call("red", is_cancelled=lambda: True), crowd.call("blue")
    crowd.go()
    with pytest.raises(Cancelled):
        left.result(60)
    assert np.allclose(stayed.result(60), alone(["blue"]))
    assert not any("red" in each for each in crowd.embedder.passes)


def test_an_error_fails_the_calls_of_its_batch_and_no_others() -> None:
    crowd = Crowd()
    crowd.embedder.broken = True
    futures = [crowd.first, crowd.call("red"), crowd.call("blue")]
    crowd.go()
    for future in futures:
        with pytest.raises(ModelError, match="the model is broken"):
            future.result(60)
    crowd.embedder.broken = False
    assert np.allclose(crowd.encoder.encode(crowd.embedder, ["green"]), alone(["green"]))


def test_a_full_queue_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "LONGEST_QUEUE", 2)
    crowd = Crowd()
    futures = [crowd.call("red"), crowd.call("blue")]
    with pytest.raises(Exhausted, match="try again"):
        crowd.call("green").result(60)
    crowd.go()
    assert [future.result(60).shape for future in futures] == [(1, 12)] * 2


def test_the_latest_single_texts_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, "CACHED_VECTORS", 2)
    encoder, embedder = TextEncoder(), SlowEmbedder()
    embedder.sign.release(100)
    for word in ("red", "blue", "red", "green", "red", "blue"):
        assert np.array_equal(encoder.encode(embedder, [word]), alone([word]))
    assert embedder.passes == [["red"], ["blue"], ["green"], ["blue"]]


def test_no_texts_are_no_vectors() -> None:
    assert TextEncoder().encode(CountingEmbedder(), []).shape == (0, 12)


def test_many_concurrent_callers_all_get_their_own_vectors() -> None:
    encoder, embedder = TextEncoder(), CountingEmbedder()
    asked = words(500)
    with ThreadPoolExecutor(32) as pool:
        rows = list(pool.map(lambda word: encoder.encode(embedder, [word])[0], asked))
    assert np.allclose(rows, alone(asked), atol=1e-6)
