"""Callers name known models alone, and nothing stays of a name that loads nothing."""

import pytest

from xcomp_composer.model_pool import pool as model_pool
from xcomp_composer.model_pool.model_names import check_model
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_protos.errors import InvalidRequest

PASSING = ("retrieval", "draft", "echo", "openai:gpt", "openai-text:any/name", "internlm/internlm-xcomposer2-vl-7b")
STRANGE = (
    "draft-0", "draft ", "echo2", "openai:", "Draft", "internlm-xcomposer-evil/model", "/root/.ssh", "./models", "~",
    "internlm/internlm-xcomposer2-7b@refs/pr/1", "..", "x" * 201, "openai:" + "x" * 4_000_000, "openai:a\nb",
)  # fmt: skip


def spare() -> float:
    return 60.0


@pytest.mark.parametrize("name", PASSING)
def test_known_models_pass(name: str) -> None:
    check_model(name, frozenset())


@pytest.mark.parametrize("name", STRANGE)
def test_other_names_paths_and_revisions_are_refused_and_leave_nothing(name: str) -> None:
    pool = ModelPool(EndpointConfig())
    with pytest.raises(InvalidRequest, match=r"^model: ") as caught:
        pool.load_chat(name, "clip", spare)
    assert len(str(caught.value)) < 1000
    assert (pool.names(), pool._loading) == ([], {})


def test_the_operator_allows_more_names() -> None:
    check_model("/models/mine", {"/models/mine"})
    check_model("anything", {"*"})
    with pytest.raises(InvalidRequest):
        check_model("/models/mine/../other", {"/models/mine"})


def test_models_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_pool, "MAX_MODELS", 3)
    pool = ModelPool(EndpointConfig("http://127.0.0.1:1/v1", "key"))
    for number in range(5):
        pool.load_chat(f"openai:m{number}", "clip", spare)
    assert pool.names() == ["openai:m2", "openai:m3", "openai:m4"]
    assert pool._loading == {}
