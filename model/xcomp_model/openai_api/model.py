"""A composing model behind an OpenAI-compatible endpoint: a hosted one, or a server on this machine.

Prompts become chat messages, and images become data URLs. A choice uses the scores of the first token if the endpoint
gives them, else an answer that a schema restricts to the options, else the letter of a free answer. Data is sent only
to the base URL that the user named.
"""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import openai

from xcomp_model.base import (
    MIN_MASS,
    CancelCheck,
    Capabilities,
    Choice,
    Control,
    EndpointUnavailable,
    ImagePart,
    ModelFailure,
    Prompt,
    Runtime,
    Sampling,
    Text,
    never,
)
from xcomp_model.families import find_family
from xcomp_model.openai_api.calls import CallerLeft, CancellableCalls
from xcomp_model.openai_api.choice import METHODS, ChoiceMethod, option_weights, parse_option, parse_scores
from xcomp_model.openai_api.prompts import OpenAIPrompts

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

TIMEOUT_S = 120.0
RETRIES = 3
MAX_IMAGE_PX = 1024
_REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError)  # of a parameter that an endpoint does not know
_CONTROL_TOKENS = re.compile(r"<(?=[|/]|s>)|\[(?=/?INST\])", re.IGNORECASE)


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
    ) -> None:
        """Args:
        model: its name at the endpoint.
        base_url: up to and including `/v1`.
        api_key: may be empty if the endpoint does not ask for one.
        name: what articles record; `openai:MODEL` by default.
        capabilities: those of the name's family by default.
        """
        if not base_url:
            raise ModelFailure(
                f"openai:{model} needs an endpoint: set OPENAI_BASE_URL, for example http://127.0.0.1:8000/v1"
            )
        self.name = name or f"openai:{model}"
        self.capabilities = capabilities or find_family(self.name).capabilities
        self._method = 0  # index in METHODS of the best one that the endpoint is known to obey
        self._model = model
        self._base_url = base_url
        self._calls = CancellableCalls()
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_S, max_retries=RETRIES,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._calls.prepare]}),
        )  # fmt: skip

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: CancelCheck = never) -> Iterator[str]:
        """Yields the answer in pieces; ends once `is_cancelled` is true, even if the endpoint sends nothing.

        Raises:
            ModelFailure: the endpoint does not answer, refuses, or cannot obey the sampling.
        """
        _check_sampling(sampling)
        messages = self._messages(prompt)

        def request() -> "Iterator[ChatCompletionChunk]":
            with self._client.chat.completions.create(
                model=self._model,
                messages=messages,
                stream=True,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=sampling.seed,
                max_tokens=sampling.max_new_tokens,
                stop=list(sampling.stop) or None,
            ) as chunks:
                yield from chunks

        with (
            self._translate_errors(),
            suppress(CallerLeft),
            closing(self._calls.stream(request, is_cancelled=is_cancelled)) as chunks,
        ):
            for chunk in chunks:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text

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
                with self._translate_errors(but=_REFUSALS):
                    request = partial(self._request_choice, messages, options, method)
                    choice = self._calls.run(request, is_cancelled=is_cancelled)
            except CallerLeft:
                raise ModelFailure("the choice was cancelled") from None
            except _REFUSALS as error:
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
        """Asks with one method; None if the scores are missing, or the answer is not an option."""
        answer = self._client.chat.completions.create(
            model=self._model, messages=messages, temperature=0, **method.parameters(options)
        )
        if not answer.choices:
            raise ModelFailure(f"{self.name} gave no answer to the choice (prompt {self.prompts.version})")
        if method.top:
            logprobs = answer.choices[0].logprobs
            return self._read_scores(logprobs.content[0].top_logprobs if logprobs and logprobs.content else (), options)
        return parse_option(answer.choices[0].message.content or "", options)

    def _read_scores(self, entries: Sequence[object] | None, options: Sequence[str]) -> Choice | None:
        try:
            scores = parse_scores(entries)
        except ValueError as error:
            raise ModelFailure(
                f"{self.name} gave scores that are {error} (prompt {self.prompts.version}): use another model"
            ) from None
        if not scores:
            return None
        weights = option_weights(scores, options)
        mass = sum(weights)
        if mass < MIN_MASS:
            raise ModelFailure(
                f"{self.name} put {mass:.0%} of its probability on the options (prompt {self.prompts.version}): "
                "it did not understand the question, use another model"
            )
        return Choice(tuple(weight / mass for weight in weights), min(mass, 1.0))

    def count_tokens(self, prompt: Prompt) -> int:
        """Estimates the positions: four characters a token, one a Chinese character, 1,000 an image."""
        texts = [part.text for part in prompt if not isinstance(part, (ImagePart, Control))]
        wide = sum(not character.isascii() for text in texts for character in text)
        images = sum(isinstance(part, ImagePart) for part in prompt)
        return wide + (sum(map(len, texts)) - wide) // 4 + 1000 * images

    def _messages(self, prompt: Prompt) -> "list[ChatCompletionMessageParam]":
        if not any(isinstance(part, (Text, ImagePart)) for part in prompt):
            raise ModelFailure("the prompt is empty: say something")
        if not self.capabilities.sees and any(isinstance(part, ImagePart) for part in prompt):
            raise ModelFailure(f"{self.name} does not see images: use a model that does")
        messages: list[dict[str, object]] = []
        for part in prompt:
            if isinstance(part, Control):
                messages.append({"role": part.name, "content": []})
            else:
                content = messages[-1]["content"]
                assert isinstance(content, list)
                content.append(_content(part))
        return [_simplify(message) for message in messages]  # type: ignore[misc]  # the endpoint checks the roles

    @contextmanager
    def _translate_errors(self, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except openai.AuthenticationError:
            raise ModelFailure(f"the endpoint {self._base_url} refuses the key: set OPENAI_API_KEY") from None
        except openai.NotFoundError:
            raise ModelFailure(f"the endpoint {self._base_url} has no model {self._model!r}") from None
        except openai.RateLimitError:
            raise EndpointUnavailable(
                f"the endpoint {self._base_url} is busy or over its quota: try again later"
            ) from None
        except openai.APIConnectionError:  # a time-out is one of them
            raise EndpointUnavailable(f"the endpoint {self._base_url} does not answer: is it running?") from None
        except openai.OpenAIError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFailure(f"the endpoint {self._base_url} failed: {reason}") from None
        except (ValueError, TypeError, KeyError):
            raise ModelFailure(f"the endpoint {self._base_url} answered in another protocol than OpenAI's") from None


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


def _content(part: object) -> dict[str, object]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": _data_url(part)}}
    if isinstance(part, Text):  # an endpoint may parse control tokens in all that it gets: break them
        return {"type": "text", "text": _CONTROL_TOKENS.sub(lambda mark: f"{mark[0]} ", part.text)}
    return {"type": "text", "text": getattr(part, "text", "")}


def _simplify(message: dict[str, object]) -> dict[str, object]:
    """Replaces a list of texts by their text: not every endpoint accepts a list."""
    content = message["content"]
    assert isinstance(content, list)
    if all(item["type"] == "text" for item in content):
        return {"role": message["role"], "content": "".join(item["text"] for item in content)}
    return message


def _data_url(part: ImagePart) -> str:
    image = part.image.convert("RGB")
    image.thumbnail((MAX_IMAGE_PX, MAX_IMAGE_PX))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
