"""A composing model behind an OpenAI-compatible endpoint: a hosted one, or a server on this machine.

A choice uses the scores of the first word if the endpoint gives them, else an answer that a schema restricts to the
options, else the letter of a free answer. Thoughts of the model are left out. Data is sent only to the base URL that
the user named.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import openai

from xcomp_model.base import (
    CancelCheck,
    Capabilities,
    Choice,
    Control,
    ImagePart,
    ModelFailure,
    Prompt,
    Runtime,
    Sampling,
    never,
)
from xcomp_model.families import find_family
from xcomp_model.openai_api.answer import AnswerReader, cut_at_stops
from xcomp_model.openai_api.calls import CallerLeft, CancellableCalls
from xcomp_model.openai_api.choice import METHODS, ChoiceMethod, read_choice
from xcomp_model.openai_api.connection import NOT_ITS_PROTOCOL, UnusableAnswer, check_url, open_client, translate_errors
from xcomp_model.openai_api.dialect import QUIET, REFUSALS, ROOM, Dialect
from xcomp_model.openai_api.messages import build_messages
from xcomp_model.openai_api.prompts import OpenAIPrompts
from xcomp_model.openai_api.thinking import LateThought

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

TIMEOUT_S = 120.0
RETRIES = 3


class OpenAIModel:
    """A model of an endpoint; several threads may call it."""

    digest = ""  # only the endpoint knows its weights
    prompts = OpenAIPrompts()

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str = "",
        name: str = "",
        capabilities: Capabilities | None = None,
        thinks_first: bool | None = None,
    ) -> None:
        """Args:
        model: its name at the endpoint.
        base_url: up to and including `/v1`.
        api_key: may be empty if the endpoint does not ask for one.
        name: what articles record; `openai:MODEL` by default.
        capabilities: those of the name's family by default.
        thinks_first: whether answers may begin with thoughts that no opening tag marks; None finds it out with the
            first answer, which is passed on only when it is whole.

        Raises:
            ModelFailure: the address is missing or is not one, or the proxy of the environment cannot be used.
        """
        if not base_url:
            raise ModelFailure(
                f"openai:{model} needs an endpoint: set OPENAI_BASE_URL, for example http://127.0.0.1:8000/v1"
            )
        check_url(base_url)
        self.name = name or f"openai:{model}"
        self.capabilities = capabilities or find_family(self.name).capabilities
        self._method = 0  # index in METHODS of the best one that the endpoint is known to obey
        self._dialect = Dialect(thinks_first=thinks_first)
        self._model = model
        self._calls = CancellableCalls()
        self._client = open_client(base_url, api_key, self._calls, timeout_s=TIMEOUT_S, retries=RETRIES)
        self._translate_errors = partial(translate_errors, base_url, model=model, api_key=api_key)

    @property
    def way(self) -> str:
        """How choices are asked for, as far as it is known."""
        return METHODS[self._method].name + (", thinking switched off" if self._dialect.level else "")

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: CancelCheck = never) -> Iterator[str]:
        """Yields the answer in pieces; ends once `is_cancelled` is true, even if the endpoint sends nothing.

        An answer that consists of thoughts alone is asked for again, without thoughts or with room for them.

        Raises:
            ModelFailure: the endpoint does not answer, refuses, or cannot obey the sampling.
        """
        _check_sampling(sampling)
        messages = self._messages(prompt)
        parameters = {
            "messages": messages, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "seed": sampling.seed, "max_tokens": sampling.max_new_tokens,
        }  # fmt: skip
        level: int | None = self._dialect.level
        while level is not None:
            reader = AnswerReader(self._dialect, level)
            with closing(self._read(parameters, reader, is_cancelled)) as pieces:
                yield from cut_at_stops(pieces, sampling.stop)
            level = None if is_cancelled() else reader.next_level()

    def _read(self, parameters: Mapping[str, Any], reader: AnswerReader, is_cancelled: CancelCheck) -> Generator[str]:
        def request() -> Iterator[object]:
            with self._send({**parameters, "stream": True}, reader.level) as chunks:
                yield from chunks

        with (
            self._translate_errors(),
            suppress(CallerLeft),
            closing(self._calls.stream(request, is_cancelled=is_cancelled)) as chunks,
        ):
            try:
                yield from reader.read(chunks)
            except LateThought:
                raise ModelFailure(f"{self.name} thought aloud before its answer: ask again") from None

    def choose(self, prompt: Prompt, options: Sequence[str], *, is_cancelled: CancelCheck = never) -> Choice:
        """Returns how likely each option is to be the answer.

        The methods are tried from the best on, until the endpoint obeys one; later choices start with that one.

        Raises:
            ModelFailure: as `stream`; or the answer is not one of the options; or the choice was cancelled.
        """
        messages = self._messages(prompt)
        refusal: openai.APIStatusError | None = None
        for method in METHODS[self._method :]:
            try:
                with self._translate_errors(but=REFUSALS):
                    request = partial(self._request_choice, messages, options, method)
                    choice = self._calls.run(request, is_cancelled=is_cancelled)
            except CallerLeft:
                raise ModelFailure("the choice was cancelled") from None
            except REFUSALS as error:
                refusal = refusal or error
                continue
            if choice:
                self._method = METHODS.index(method)
                self.capabilities = replace(self.capabilities, logprobs=bool(method.top))
                return choice
        if refusal is None:
            raise ModelFailure(f"{self.name} did not answer with one of the options (prompt {self.prompts.version})")
        with self._translate_errors():
            raise refusal

    def _request_choice(
        self, messages: "list[ChatCompletionMessageParam]", options: Sequence[str], method: ChoiceMethod
    ) -> Choice | None:
        """Asks with one method, with fewer thoughts or more room while only those come; None without a choice."""
        parameters = {"messages": messages, "temperature": 0, **method.parameters(options)}
        most = QUIET if method.top else ROOM  # scores of long thoughts would be long answers
        level = most if method.has_room else min(self._dialect.level, most)
        while True:
            answer = self._send(parameters, level)
            if isinstance(answer, str):
                raise UnusableAnswer(NOT_ITS_PROTOCOL)
            if failure := getattr(answer, "error", None):
                raise openai.OpenAIError(str(failure.get("message", failure)))
            choice, has_thoughts = read_choice(answer, options, by_scores=bool(method.top))
            if choice or not has_thoughts or level >= most:
                return choice
            self._dialect.raise_level(level)
            level += 1

    def _send(self, parameters: Mapping[str, Any], level: int) -> Any:  # as the client returns it
        """Sends a request, again without a parameter that the endpoint refuses."""
        while True:
            sent = self._dialect.adapt(parameters, level=level)
            try:
                return self._client.chat.completions.create(model=self._model, **sent)
            except REFUSALS as error:
                if not self._dialect.learn(error, sent):
                    raise

    def count_tokens(self, prompt: Prompt) -> int:
        """Estimates the positions: four characters a token, one a Chinese character, 1,000 an image."""
        texts = [part.text for part in prompt if not isinstance(part, (ImagePart, Control))]
        wide = sum(not character.isascii() for text in texts for character in text)
        images = sum(isinstance(part, ImagePart) for part in prompt)
        return wide + (sum(map(len, texts)) - wide) // 4 + 1000 * images

    def _messages(self, prompt: Prompt) -> "list[ChatCompletionMessageParam]":
        messages = build_messages(prompt)
        if not self.capabilities.sees and any(isinstance(part, ImagePart) for part in prompt):
            raise ModelFailure(f"{self.name} does not see images: use a model that does")
        return messages


def open_model(name: str, runtime: Runtime) -> OpenAIModel:
    """Returns the model of `openai:MODEL` or `openai-text:MODEL`; raises ModelFailure without an endpoint's address."""
    return OpenAIModel(
        name.partition(":")[2],
        base_url=runtime.base_url,
        api_key=runtime.api_key,
        capabilities=find_family(name).capabilities,
    )


def _check_sampling(sampling: Sampling) -> None:
    for value, neutral, name in (
        (sampling.top_k, 0, "top_k"),
        (sampling.repetition_penalty, 1.0, "repetition_penalty"),
        (sampling.beams, 1, "beams"),
        (sampling.grammar, None, "grammar"),
    ):
        if value != neutral:
            raise ModelFailure(f"an OpenAI-compatible endpoint cannot obey {name}={value}: leave it out")
