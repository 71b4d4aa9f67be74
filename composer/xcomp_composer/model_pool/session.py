"""One request's use of a model: in turn with other requests, within the deadline of its call, and within bounds.

Answers are bounded here, whatever model gives them, and errors of models become errors of the service here and nowhere
else. It does not depend on articles.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import cast

from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_model import base
from xcomp_model.base import (
    LETTERS,
    AnswerGrammar,
    Choice,
    ImagePart,
    Prompt,
    Prompts,
    Section,
    Stage,
    VisionLanguageModel,
)
from xcomp_model.selection import Allowance, select
from xcomp_protos.errors import ModelError, Unavailable
from xcomp_protos.telemetry import api

CHARACTERS_PER_TOKEN = 16  # more than any answer has on average; an endpoint may ignore its limit of tokens

_STAGES: dict[Stage, str] = {  # labels of the metrics
    "write": "write", "spot": "spot", "query": "query", "choose": "choose", "describe": "caption", "chat": "chat",
    "edit": "edit",
}  # fmt: skip

BuildPrompt = Callable[[Prompts], Prompt]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, and the queue of the calls that use it: as wide as the model serves calls at once."""

    model: VisionLanguageModel
    queue: FairQueue


class ModelSession:
    """A model as one request uses it."""

    def __init__(self, loaded: LoadedModel, context: CallContext, *, seed: int = 0) -> None:
        self.model = loaded.model
        self._queue = loaded.queue
        self._context = context
        self._seed = seed

    def stream(self, build: BuildPrompt, stage: Stage, *, grammar: AnswerGrammar | None = None) -> Iterator[str]:
        """Yields an answer in pieces, of a grammar if one is given; stops within one token after a cancellation.

        Raises:
            ModelError: the model cannot answer this, or failed.
            Unavailable: its endpoint does not answer.
        """
        with self._enter(stage):
            prompts = self.model.prompts
            sampling = replace(prompts.sampling(stage, seed=self._seed), grammar=grammar)
            left = sampling.max_new_tokens * CHARACTERS_PER_TOKEN
            pieces = self.model.stream(build(prompts), sampling, is_cancelled=self._context.is_cancelled)
            with closing(cast("Generator[str]", pieces)):  # stops the model before the turn ends
                for piece in pieces:
                    api.count("tokens")
                    yield piece[:left]
                    left -= len(piece)
                    if left <= 0:
                        break
        self._context.remaining_s()  # raises if the answer broke off because of a cancellation

    def say(self, build: BuildPrompt, stage: Stage, *, grammar: AnswerGrammar | None = None) -> str:
        """Returns a whole answer; raises like `stream`."""
        return "".join(self.stream(build, stage, grammar=grammar))

    def choose(
        self, sections: Sequence[Section], candidates: Sequence[ImagePart], allowance: Allowance | None = None
    ) -> Choice:
        """Says how likely each candidate is to belong after the last section; raises like `stream`.

        Args:
            sections: the article up to the spot.
            candidates: images for it.
            allowance: tokens that the choices of the article have read so far; None for a single choice.
        """
        with self._enter("choose"):
            return select(
                self.model, sections, candidates, allowance=allowance, is_cancelled=self._context.is_cancelled
            )

    def read_letter(self, sections: Sequence[Section], candidates: Sequence[ImagePart]) -> int | None:
        """Returns the index of the first valid letter in a whole answer, as the releases read it; None without one."""
        answer = self.say(lambda prompts: prompts.choose(sections, candidates), "choose")
        letters = LETTERS[: len(candidates)]
        return next((letters.index(character) for character in answer if character in letters), None)

    @contextmanager
    def _enter(self, stage: Stage) -> Iterator[None]:
        turn = self._queue.enter(self._context.remaining_s, owner=self._context)
        with turn, api.stage(_STAGES[stage]), self._translate_errors():
            yield

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except base.EndpointUnavailable as error:
            raise Unavailable(str(error)) from None
        except base.ModelFailure as error:
            self._context.remaining_s()  # an answer that broke off because of a cancellation is not a failure
            raise ModelError(str(error)) from None
