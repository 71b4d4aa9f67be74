"""The cache of embedders: nothing stays of a model that does not load, and the number of those that do is bounded."""

import pytest

from tests.fakes import CountingEmbedder
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.repository import embedder_cache
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_protos.errors import Conflict, InvalidRequest, ModelError


def refuse(model: str) -> Embedder:
    raise ModelError(f"there is no {model}")


def test_nothing_stays_of_a_model_that_does_not_load() -> None:
    cache = EmbedderCache(refuse)
    for number in range(100):
        with pytest.raises(Conflict):
            cache.get(f"lite:x{number}")
    assert (cache.names(), cache._loading) == ([], {})


@pytest.mark.parametrize("name", ["x" * 4_000_000, "color:z\n2026-12-01 FORGED", "a\x1b[2J"])
def test_a_long_name_and_one_with_control_characters_are_refused_before_they_load(name: str) -> None:
    loads: list[str] = []

    def load(model: str) -> Embedder:
        loads.append(model)
        return CountingEmbedder()

    with pytest.raises(InvalidRequest, match="256 printable characters"):
        EmbedderCache(load).get(name)
    assert loads == []


def test_the_model_that_was_used_longest_ago_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_cache, "MAX_MODELS", 2)
    cache = EmbedderCache(lambda _: CountingEmbedder())
    for model in ("a", "b", "a", "c"):
        cache.get(model)
    assert cache.names() == ["a", "c"]
