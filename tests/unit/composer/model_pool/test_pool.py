"""The models of a composer in memory: each once, endpoint models up to a bound, and no trace of what does not load."""

import pytest

from xcomp_composer.model_pool import pool as pools
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_protos.errors import InvalidRequest, Unsupported


def left_s() -> float:
    return 60.0


@pytest.fixture
def pool() -> ModelPool:
    return ModelPool(EndpointConfig("http://127.0.0.1:9/v1"))


def test_the_endpoint_models_used_last_are_kept(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_ENDPOINT_MODELS", 3)
    pool.load_chat("echo", "clip", left_s)
    first = pool.load_chat("openai:0", "clip", left_s)
    for number in range(1, 6):
        pool.load_chat(f"openai:{number}", "clip", left_s)
        assert pool.load_chat("openai:0", "clip", left_s) is first
    assert pool.names() == ["echo", "openai:0", "openai:4", "openai:5"]
    assert set(pool._loading) == set(pool.names())


def test_a_name_that_does_not_load_leaves_nothing_behind(pool: ModelPool) -> None:
    for name in ("draft-0", "unknown", "openai:" + "x" * 100_000):
        with pytest.raises(InvalidRequest, match="unknown composer model") as caught:
            pool.load_chat(name, "clip", left_s)
        assert len(str(caught.value)) < 1000
    assert not pool._loading


@pytest.mark.parametrize("name", ["draft", "draft:smollm2-135m-instruct"])
def test_the_draft_model_chats_under_none_of_its_names(pool: ModelPool, name: str) -> None:
    with pytest.raises(Unsupported, match="cannot chat"):
        pool.load_chat(name, "clip", left_s)
