"""A composing model behind an OpenAI-compatible endpoint: a hosted one, or a server on this machine.

Prompts become chat messages, pictures data URLs. A choice rests on the scores of the first token where the endpoint
gives them, else on an answer that can be nothing but an option, else on the letter it answers with. Nothing is sent
anywhere but to the base URL the user named.
"""

import base64
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import openai

from xcomp_model.base import (
    Capabilities,
    Choice,
    Control,
    EndpointUnavailable,
    ModelError,
    Picture,
    Prompt,
    Runtime,
    Sampling,
    Text,
    never,
)
from xcomp_model.families import find_family
from xcomp_model.openai_api.calls import CallerLeft, Calls
from xcomp_model.openai_api.choice import WAYS, ChoiceMethod, read
from xcomp_model.openai_api.prompts import OpenAIPrompts

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

TIMEOUT_S = 120.0
RETRIES = 3
_ROUNDING = 1e-3  # above 0, which no log-probability is
MIN_MASS = 0.5  # below it the model spoke of something else
MAX_PICTURE_PX = 1024
_CONTROL_TOKENS = re.compile(r"<(?=[|/]|s>)|\[(?=/?INST\])", re.IGNORECASE)


class OpenAIModel:
    """A model of an endpoint. Safe to call from several threads; the endpoint keeps its own queue."""

    digest = ""  # nobody but the endpoint knows what it runs
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
        model: the endpoint's name for it.
        base_url: up to and including `/v1`.
        api_key: may be empty where the endpoint asks for none.
        name: what articles record; `openai:MODEL` by default.
        capabilities: those of the name's family by default.
        """
        if not base_url:
            raise ModelError(
                f"openai:{model} needs an endpoint: set OPENAI_BASE_URL, for example http://127.0.0.1:8000/v1"
            )
        self.name = name or f"openai:{model}"
        self.capabilities = capabilities or find_family(self.name).capabilities
        self._way = 0  # of WAYS, the best that the endpoint is known to obey
        self._model = model
        self._base_url = base_url
        self._calls = Calls()
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_S, max_retries=RETRIES,
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._calls.prepare]}),
        )  # fmt: skip

    def stream(self, prompt: Prompt, sampling: Sampling, *, cancelled: Callable[[], bool] = never) -> Iterator[str]:
        """Yields the answer in pieces; ends once `cancelled` is true, though the endpoint be silent.

        Raises:
            ModelError: the endpoint does not answer, refuses, or cannot obey the sampling.
        """
        _refuse_unknown(sampling)
        messages = self._messages(prompt)

        def ask() -> "Iterator[ChatCompletionChunk]":
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

        with self._translated(), suppress(CallerLeft), closing(self._calls.stream(ask, cancelled=cancelled)) as chunks:
            for chunk in chunks:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text

    def choose(self, prompt: Prompt, options: Sequence[str], *, cancelled: Callable[[], bool] = never) -> Choice:
        """Says how likely each option is to be the answer.

        Scores of the first token say it best; an endpoint that refuses them, or leaves them out, is asked for fewer,
        then for an answer that can be nothing but an option, then for a letter. What it can do is remembered.

        Raises:
            ModelError: as `stream`; or the answer is none of the options; or nobody waits any more.
        """
        messages = self._messages(prompt)
        refusal: openai.APIStatusError | None = None
        for way in WAYS[self._way :]:
            try:
                with self._translated(but=(openai.BadRequestError, openai.UnprocessableEntityError)):
                    choice = self._calls.run(partial(self._asked, messages, options, way), cancelled=cancelled)
            except CallerLeft:
                raise ModelError("the choice was broken off: nobody waits for it") from None
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = refusal or error
                continue
            if choice:
                self._learn(way)
                return choice
        if refusal is None:
            raise ModelError(f"{self.name} answered none of the options (prompt {self.prompts.version})")
        with self._translated():
            raise refusal

    def _asked(
        self, messages: "list[ChatCompletionMessageParam]", options: Sequence[str], way: ChoiceMethod
    ) -> Choice | None:
        """Asks in one way; None where the scores are left out, or the answer is no option."""
        answer = self._client.chat.completions.create(
            model=self._model, messages=messages, temperature=0, **way.parameters(options)
        )
        if not answer.choices:
            raise ModelError(f"{self.name} gave no answer to the choice (prompt {self.prompts.version})")
        if way.top:
            said = answer.choices[0].logprobs
            scores = self._scores(said.content[0].top_logprobs if said and said.content else None)
            return self._weighed(scores, options) if scores else None
        return read(answer.choices[0].message.content or "", options)

    def _learn(self, way: ChoiceMethod) -> None:
        self._way = WAYS.index(way)
        self.capabilities = replace(self.capabilities, logprobs=bool(way.top))

    def count_tokens(self, prompt: Prompt) -> int:
        """Estimates the positions: four characters a token, one a Chinese character, 1,000 a picture."""
        texts = [part.text for part in prompt if not isinstance(part, (Picture, Control))]
        wide = sum(not character.isascii() for text in texts for character in text)
        pictures = sum(isinstance(part, Picture) for part in prompt)
        return wide + (sum(map(len, texts)) - wide) // 4 + 1000 * pictures

    def _scores(self, given: Sequence[object] | None) -> list[tuple[str, float]]:
        """Checks what an endpoint says of its tokens: its library passes anything on."""
        found = [(getattr(each, "token", None), getattr(each, "logprob", None)) for each in given or ()]
        scores = [(token, score) for token, score in found if isinstance(token, str) and isinstance(score, int | float)]
        if len(scores) < len(found) or not all(score <= _ROUNDING for _, score in scores):  # of nan, too
            raise ModelError(f"{self.name} gave scores that are no log-probabilities (prompt {self.prompts.version})")
        return scores

    def _weighed(self, tokens: Sequence[tuple[str, float]], options: Sequence[str]) -> Choice:
        weights = [
            sum(math.exp(logprob) for token, logprob in tokens if token.strip().upper() == option.upper())
            for option in options
        ]
        mass = sum(weights)
        if mass < MIN_MASS:
            raise ModelError(
                f"{self.name} put {mass:.0%} of its probability on the options (prompt {self.prompts.version}): "
                "it did not understand the question, use another model"
            )
        return Choice(tuple(weight / mass for weight in weights), min(mass, 1.0))

    def _messages(self, prompt: Prompt) -> "list[ChatCompletionMessageParam]":
        if not any(isinstance(part, (Text, Picture)) for part in prompt):
            raise ModelError("the prompt is empty: say something")
        if not self.capabilities.sees and any(isinstance(part, Picture) for part in prompt):
            raise ModelError(f"{self.name} sees no pictures: use a model that does")
        messages: list[dict[str, object]] = []
        for part in prompt:
            if isinstance(part, Control):
                messages.append({"role": part.name, "content": []})
            else:
                content = messages[-1]["content"]
                assert isinstance(content, list)
                content.append(_content(part))
        return [_joined(message) for message in messages]  # type: ignore[misc]  # roles are checked by the endpoint

    @contextmanager
    def _translated(self, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except openai.AuthenticationError:
            raise ModelError(f"the endpoint {self._base_url} refuses the key: set OPENAI_API_KEY") from None
        except openai.NotFoundError:
            raise ModelError(f"the endpoint {self._base_url} has no model {self._model!r}") from None
        except openai.RateLimitError:
            raise EndpointUnavailable(
                f"the endpoint {self._base_url} is busy or over its quota: try again later"
            ) from None
        except openai.APIConnectionError:  # a time-out is one of them
            raise EndpointUnavailable(f"the endpoint {self._base_url} does not answer: is it running there?") from None
        except openai.OpenAIError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"the endpoint {self._base_url} failed: {reason}") from None
        except (ValueError, TypeError, KeyError):
            raise ModelError(f"the endpoint {self._base_url} answered something that is not its protocol") from None


def open_model(name: str, runtime: Runtime) -> OpenAIModel:
    """Returns the model of `openai:MODEL` or `openai-text:MODEL`; raises ModelError without an endpoint's address."""
    return OpenAIModel(
        name.partition(":")[2],
        base_url=runtime.base_url,
        api_key=runtime.api_key,
        capabilities=find_family(name).capabilities,
    )


def _refuse_unknown(sampling: Sampling) -> None:
    for given, neutral, word in (
        (sampling.top_k, 0, "top_k"),
        (sampling.repetition_penalty, 1.0, "repetition_penalty"),
        (sampling.beams, 1, "beams"),
        (sampling.form, None, "form"),
    ):
        if given != neutral:
            raise ModelError(f"an OpenAI-compatible endpoint cannot obey {word}={given}: leave it out")


def _content(part: object) -> dict[str, object]:
    if isinstance(part, Picture):
        return {"type": "image_url", "image_url": {"url": _data_url(part)}}
    if isinstance(part, Text):  # an endpoint may parse control tokens in whatever it is sent: break them
        return {"type": "text", "text": _CONTROL_TOKENS.sub(lambda mark: f"{mark[0]} ", part.text)}
    return {"type": "text", "text": getattr(part, "text", "")}


def _joined(message: dict[str, object]) -> dict[str, object]:
    """Sends plain text where there is nothing else: not every endpoint takes a list."""
    content = message["content"]
    assert isinstance(content, list)
    if all(item["type"] == "text" for item in content):
        return {"role": message["role"], "content": "".join(item["text"] for item in content)}
    return message


def _data_url(picture: Picture) -> str:
    image = picture.image.convert("RGB")
    image.thumbnail((MAX_PICTURE_PX, MAX_PICTURE_PX))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"
