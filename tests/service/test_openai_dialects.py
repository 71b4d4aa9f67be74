"""The client of endpoints against servers that speak the protocol in ways of their own."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests import openai_server
from tests.openai_server import Answer, Reply, failure, message, pieces
from xcomp_model.base import Control, ModelFailure, Prompt, Sampling, Text
from xcomp_model.openai_api import connection
from xcomp_model.openai_api import model as adapter
from xcomp_model.openai_api.model import OpenAIModel

ASK: Prompt = (Control("user"), Text("hello"))
THOUGHT = "Okay, 3 or 7 things. Option B might fit."
AB = ("A", "B")


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "RETRIES", 0)


@contextmanager
def endpoint(answer: Answer) -> Iterator[tuple[OpenAIModel, list[dict[str, object]]]]:
    with openai_server.serving(answer) as (url, requests):
        yield OpenAIModel("m", base_url=url, api_key="secret-key"), requests


def say(model: OpenAIModel, *, stop: tuple[str, ...] = ()) -> str:
    return "".join(model.stream(ASK, Sampling(stop=stop)))


def chunks(*parts: object) -> Reply:
    """Returns a stream of these chunks as they are."""
    return 200, "".join(f"data: {json.dumps(part)}\n\n" for part in parts).encode() + b"data: [DONE]\n\n"


def delta(content: object, finish: str | None = None, **more: object) -> dict[str, object]:
    return {"id": "1", "choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{THOUGHT}\n</think>\n\nA cat.",
        f"{THOUGHT}\n</think>\n\nA cat.",
        "<think>\n\n</think>\n\nA cat.",
        f"[THINK]{THOUGHT}[/THINK]A cat.",
        f"◁think▷{THOUGHT}◁/think▷A cat.",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>A cat.",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_thoughts_are_no_part_of_an_answer(text: str, size: int) -> None:
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    with endpoint(lambda _: pieces(*parts)) as (model, _):
        assert say(model) == "A cat."
        assert say(model, stop=("\n",)) == "A cat."


def test_a_sign_that_starts_no_tag_is_kept() -> None:
    with endpoint(lambda _: pieces("1 <", " 2 [a] <b", ">")) as (model, _):
        assert [say(model), say(model)] == ["1 < 2 [a] <b>"] * 2


def test_an_answer_is_passed_on_as_it_comes_once_the_model_is_known_not_to_think() -> None:
    with endpoint(lambda _: pieces("A ", "cat")) as (model, _):
        assert list(model.stream(ASK, Sampling())) == ["A cat"]
        assert list(model.stream(ASK, Sampling())) == ["A ", "cat"]


def test_a_thought_that_follows_an_answer_is_an_error_once() -> None:
    with endpoint(lambda _: pieces("A cat.")) as (model, _):
        say(model)
        assert model._dialect.thinks_first is False
    thinking = pieces("Hmm ", "so</think>", "A dog.")
    with openai_server.serving(lambda _: thinking) as (url, _):
        model = OpenAIModel("m", base_url=url, thinks_first=False)
        with pytest.raises(ModelFailure, match="ask again"):
            say(model)
        assert say(model) == "A dog."


def test_thoughts_that_use_up_the_tokens_are_switched_off_and_this_is_remembered() -> None:
    def answer(body: dict[str, object]) -> Reply:
        if body.get("chat_template_kwargs"):
            return chunks(delta("A cat.", "stop"))
        return chunks(delta("<think>Okay"), delta(" so", "length"))

    with endpoint(answer) as (model, requests):
        assert say(model) == say(model) == "A cat."
        assert len(requests) == 3
        assert "thinking switched off" in model.way


def test_a_model_that_cannot_stop_thinking_gets_room() -> None:
    def answer(body: dict[str, object]) -> Reply:
        if int(str(body["max_tokens"])) > 4096:
            return chunks(delta(None, reasoning_content=THOUGHT), delta("A cat.", "stop"))
        return chunks(delta("", reasoning_content=THOUGHT), delta(None, "length"))

    with endpoint(answer) as (model, _):
        assert say(model) == "A cat."


def test_a_cut_thought_without_a_tag_is_found_out_with_room() -> None:
    def answer(body: dict[str, object]) -> Reply:
        has_room = int(str(body["max_tokens"])) > 4096
        return chunks(delta(f"{THOUGHT}</think>A cat." if has_room else "Okay, the", "stop" if has_room else "length"))

    with endpoint(answer) as (model, _):
        assert say(model) == say(model) == "A cat."


def test_an_answer_of_thoughts_only_is_empty() -> None:
    with endpoint(lambda _: pieces(f"<think>{THOUGHT}")) as (model, requests):
        assert say(model) == ""
        assert len(requests) == 3


@pytest.mark.parametrize(
    "letter",
    ["ĠA", "▁A", " A", "\nA", "**A", "(A"],
)
def test_a_letter_counts_in_every_spelling_of_a_tokenizer(letter: str) -> None:
    reply = message(letter, scores={letter: math.log(0.8), "B": math.log(0.1)})
    with endpoint(lambda _: reply) as (model, _):
        choice = model.choose(ASK, AB)
    assert choice.probabilities == pytest.approx((8 / 9, 1 / 9))
    assert choice.mass == pytest.approx(0.9)


def scored(*positions: tuple[str, dict[str, float]]) -> Reply:
    """Returns an answer with the scores of several tokens."""
    status, body = message("".join(token for token, _ in positions))
    reply = json.loads(body)
    reply["choices"][0]["logprobs"] = {
        "content": [
            {
                "token": token, "logprob": 0.0, "bytes": None,
                "top_logprobs": [{"token": each, "logprob": score, "bytes": None} for each, score in top.items()],
            }
            for token, top in positions
        ]
    }  # fmt: skip
    return status, json.dumps(reply).encode()


@pytest.mark.parametrize("before", [("<think>", "\n\n", "</think>", "\n\n"), ("\n", "</think>"), ("**",), ("\n",)])
def test_the_scores_are_those_of_the_first_word_after_thoughts_and_marks(before: tuple[str, ...]) -> None:
    marks = [(token, {token: 0.0, "B": -9.0}) for token in before]
    reply = scored(*marks, ("A", {"A": math.log(0.9), "B": math.log(0.1)}))
    with endpoint(lambda _: reply) as (model, requests):
        assert model.choose(ASK, AB).probabilities == pytest.approx((0.9, 0.1))
    assert len(requests) == 1


def test_bytes_say_what_a_token_is() -> None:
    status, body = message("token_id:32", scores={"token_id:32": -0.1})
    told = body.replace(b'"bytes": null', b'"bytes": [32, 65]')
    reply = (status, told.replace(b'"token": "token_id:32", "logprob": 0.0', b'"token": "A", "logprob": 0.0'))
    with endpoint(lambda _: reply) as (model, _):
        assert model.choose(ASK, AB).probabilities == (1.0, 0.0)
        assert model.capabilities.logprobs


def test_little_probability_on_the_letters_means_the_next_way() -> None:
    def answer(body: dict[str, object]) -> Reply:
        return message('{"choice": "B"}') if "response_format" in body else message("The", scores={"The": 0.0})

    with endpoint(answer) as (model, requests):
        assert model.choose(ASK, AB).probabilities == (0.0, 1.0)
        assert model.way == "an answer by schema"
        asked = len(requests)
        model.choose(ASK, AB)
        assert len(requests) == asked + 1


def test_an_empty_thought_before_the_letter_is_passed_over() -> None:
    reply = message("<think>\n\n</think>\n\nA", scores={"<think>": -0.0001, "A": -12.0})
    with endpoint(lambda _: reply) as (model, _):
        assert model.choose(ASK, AB).probabilities == (1.0, 0.0)


def test_a_missing_score_is_passed_over() -> None:
    status, body = message("A", scores={"A": math.log(0.8), "B": math.log(0.1), "C": -0.25})
    with endpoint(lambda _: (status, body.replace(b"-0.25", b"null"))) as (model, _):
        assert model.choose(ASK, ("A", "B", "C")).probabilities == pytest.approx((8 / 9, 1 / 9, 0))


def test_probabilities_instead_of_logarithms_mean_the_next_way() -> None:
    with endpoint(lambda _: message("B", scores={"A": 0.2, "B": 0.8})) as (model, _):
        assert model.choose(ASK, AB).probabilities == (0.0, 1.0)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Answer: A", "A"),
        ("**Answer:** B", "B"),
        ("A) A ginger cat", "A"),
        ("B. It shows a cat", "B"),
        ("B: a cat", "B"),
        ("The best choice is A.", "A"),
        ("The answer is (B).", "B"),
        ("I would pick B because it shows a cat", "B"),
        ("答案：B", "B"),
        ("A\n\nIt shows a cat", "A"),
        ('```json\n{"choice": "B"}\n```', "B"),
        ("\\boxed{B}", ""),
        ("A or B", ""),
        ("The answer is A or B", ""),
        ("A cat would be lovely", ""),
        ("The best choice is a cat", ""),
        ("The best choice is A cat", ""),
        ("All of them are lovely", ""),
        ("C", ""),
    ],
)
def test_a_letter_is_read_from_an_answer_that_names_one_option(answer: str, named: str) -> None:
    with endpoint(lambda _: message(answer)) as (model, _):
        if named:
            assert model.choose(ASK, AB).probabilities == tuple(float(each == named) for each in AB)
        else:
            with pytest.raises(ModelFailure, match="did not answer with one of the options"):
                model.choose(ASK, AB)


def refuse(name: str, words: str = "Unsupported parameter: '{}' is not supported with this model.") -> Answer:
    """Returns an endpoint that refuses one parameter, whatever its value."""

    def answer(body: dict[str, object]) -> Reply:
        if name in body:
            return failure(400, words.format(name))
        if body.get("stream"):
            return pieces("A cat.")
        return message("A", scores={"A": 0.0} if body.get("logprobs") else None)

    return answer


@pytest.mark.parametrize("name", ["max_tokens", "temperature", "seed", "top_p"])
def test_a_refused_parameter_is_left_out_once_and_for_all(name: str) -> None:
    with endpoint(refuse(name)) as (model, requests):
        sampling = Sampling(temperature=0.5, top_p=0.5, seed=7, max_new_tokens=9)
        assert "".join(model.stream(ASK, sampling)) == "A cat."
        assert "".join(model.stream(ASK, sampling)) == "A cat."
        assert model.choose(ASK, AB).probabilities == (1.0, 0.0)
    assert len(requests) == 4
    assert ("max_completion_tokens" in requests[-1]) == (name == "max_tokens")


def test_a_parameter_is_read_from_the_errors_of_a_validator() -> None:
    reply = json.dumps({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}).encode()
    with endpoint(lambda body: (422, reply) if "seed" in body else pieces("A cat.")) as (model, requests):
        assert "".join(model.stream(ASK, Sampling(seed=7))) == "A cat."
    assert len(requests) == 2


def test_neutral_parameters_are_not_sent() -> None:
    with endpoint(lambda _: pieces("x")) as (model, requests):
        say(model, stop=("\n",))
    assert not {"stop", "seed", "top_p"} & set(requests[0])


def test_an_effort_that_a_server_does_not_know_is_replaced_by_the_next() -> None:
    def answer(body: dict[str, object]) -> Reply:
        if body.get("reasoning_effort") in ("none", "minimal"):
            return failure(400, "Unsupported value: 'reasoning_effort' does not support this value.")
        if "chat_template_kwargs" in body:
            return failure(400, "Unrecognized request argument supplied: chat_template_kwargs")
        return chunks(delta("A cat.", "stop")) if body.get("reasoning_effort") == "low" else pieces("<think>so")

    with endpoint(answer) as (model, _):
        assert say(model) == "A cat."


@pytest.mark.parametrize(
    "part",
    [
        None,
        {"choices": None},
        {"choices": []},
        {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        delta(None, "stop"),
    ],
)
def test_empty_parts_of_a_stream_are_passed_over(part: object) -> None:
    with endpoint(lambda _: chunks(part, delta("A cat."), part)) as (model, _):
        assert [say(model), say(model)] == ["A cat."] * 2


def test_a_choice_without_a_message_is_no_answer() -> None:
    body = json.dumps({"id": "1", "choices": [{"index": 0, "message": None}]}).encode()
    with endpoint(lambda _: (200, body)) as (model, _), pytest.raises(ModelFailure, match="did not answer"):
        model.choose(ASK, AB)


def test_the_text_parts_of_a_content_list_are_joined_without_thoughts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
    parts = [thinking, {"type": "text", "text": "A "}, {"type": "text", "text": "cat."}]

    with endpoint(lambda _: chunks(delta(parts))) as (model, _):
        assert say(model) == "A cat."
    body = json.dumps({"choices": [{"message": {"content": [thinking, {"type": "text", "text": "B"}]}}]}).encode()
    with endpoint(lambda _: (200, body)) as (model, _):
        assert model.choose(ASK, AB).probabilities == (0.0, 1.0)


def ask_both(answer: Answer, kind: str = "") -> Iterator[str]:
    """Yields the errors of a stream and of a choice."""
    for ask in (say, lambda model: model.choose(ASK, AB)):
        with openai_server.serving(answer, kind=kind) as (url, _):
            model = OpenAIModel("m", base_url=url, api_key="secret-key")
            with pytest.raises(ModelFailure) as caught:
                ask(model)
            yield str(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ((200, b"<!doctype html><html><body>Running</body></html>"), "text/html; charset=utf-8", "lack /v1"),
        ((200, b"Running"), "text/plain", "lack /v1"),
        ((404, b"404 page not found"), "text/plain", "lack /v1"),
        ((404, b'{"detail": "Not Found"}'), "application/json", "lack /v1"),
        (failure(404, "model 'm' not found"), "application/json", "has no model 'm'"),
    ],
)
def test_a_wrong_address_is_told_in_one_line(reply: Reply, kind: str, words: str) -> None:
    for error in ask_both(lambda _: reply, kind):
        assert words in error
        assert "\n" not in error


def test_an_address_without_http_is_told() -> None:
    with pytest.raises(ModelFailure, match="write http:// or https:// before it"):
        OpenAIModel("m", base_url="127.0.0.1:18091/v1")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "socks://127.0.0.1:1080"])
def test_a_proxy_that_cannot_be_used_is_told_and_loopback_needs_none(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    with endpoint(lambda _: pieces("A cat.")) as (model, _):
        assert say(model) == "A cat."
    with pytest.raises(ModelFailure, match=r"ALL_PROXY .*socksio"):
        OpenAIModel("m", base_url="http://models.example/v1")
    monkeypatch.setenv("NO_PROXY", "models.example")
    OpenAIModel("m", base_url="http://models.example/v1")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    seen: list[dict[str, object]] = []

    def elsewhere(body: dict[str, object]) -> Reply:
        seen.append(body)
        return message("A")

    with openai_server.serving(elsewhere) as (url, _):
        for error in ask_both(lambda _: (status, b"private words"), kind=f"text/plain\r\nLocation: {url}/x"):
            assert "redirects" in error
            assert "private" not in error
    assert not seen


def test_an_error_with_the_status_of_success_is_told() -> None:
    body = {"error": {"message": "Provider returned error", "code": 502}}
    for error in ask_both(lambda asked: chunks(body) if asked.get("stream") else (200, json.dumps(body).encode())):
        assert "failed: Provider returned error" in error


def test_an_error_does_not_show_the_key() -> None:
    for error in ask_both(lambda _: failure(400, "Incorrect key secret-key given")):
        assert "secret-key" not in error
        assert "Incorrect key" in error


@pytest.mark.parametrize("make", [lambda: (200, b'{"a": "' + b"x" * 3000), lambda: (200, b"data: " + b"x" * 3000)])
def test_an_answer_without_end_is_refused(make: Callable[[], Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 2000)
    monkeypatch.setattr(connection, "MAX_LINE_BYTES", 1000)
    for error in ask_both(lambda _: make()):
        assert "without an end" in error
