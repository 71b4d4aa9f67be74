"""A composing model as one request may use it: in turn with others, within the caller's time, and within bounds.

What a model says is bounded here, whoever serves it, and its errors become errors of the service here and nowhere else.
This file knows no article.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import cast

from xcomp_composer.indexer_client.call_context import CallContext
from xcomp_composer.model_pool.fair_queue import FairQueue
from xcomp_model import base
from xcomp_model.base import AnswerGrammar, Choice, Picture, Prompt, Prompts, Section, Stage, VisionLanguageModel
from xcomp_model.selection import LETTERS, Allowance, select
from xcomp_protos.errors import ModelError, Unavailable
from xcomp_protos.telemetry import api

CHARACTERS_PER_TOKEN = 16  # more than any answer has on average; an endpoint may not keep to its bound of tokens

_STAGES: dict[Stage, str] = {  # as the metrics know them
    "write": "write", "spot": "spot", "query": "query", "choose": "choose", "describe": "caption", "chat": "chat",
    "edit": "edit",
}  # fmt: skip

Build = Callable[[Prompts], Prompt]


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model and the lane before it.

    Attributes:
        lane: as wide as the model serves calls at once; the others wait there, so that articles take turns.
        writes_lines: a line of its articles is a paragraph; the others write Markdown.
    """

    model: VisionLanguageModel
    lane: FairQueue
    writes_lines: bool = False


class ModelSession:
    """One request's use of a model."""

    def __init__(self, served: LoadedModel, context: CallContext, *, seed: int = 0) -> None:
        self.model = served.model
        self._lane = served.lane
        self._context = context
        self._seed = seed

    def stream(self, build: Build, stage: Stage, *, form: AnswerGrammar | None = None) -> Iterator[str]:
        """Yields an answer in pieces, in a form if one is given; ends within one token once nobody listens.

        Raises:
            ModelError: the model cannot be asked this, or failed.
            Unavailable: its endpoint does not answer.
        """
        with self._turn(stage):
            prompts = self.model.prompts
            sampling = replace(prompts.sampling(stage, seed=self._seed), form=form)
            room = sampling.max_new_tokens * CHARACTERS_PER_TOKEN
            pieces = self.model.stream(build(prompts), sampling, cancelled=self._context.is_cancelled)
            with closing(cast("Generator[str]", pieces)):  # before the lane is left: it ends the model's work
                for piece in pieces:
                    api.count("tokens")
                    yield piece[:room]
                    room -= len(piece)
                    if room <= 0:
                        break
        self._context.remaining_s()  # an answer that broke off is none

    def say(self, build: Build, stage: Stage, *, form: AnswerGrammar | None = None) -> str:
        """Returns a whole answer; raises like `stream`."""
        return "".join(self.stream(build, stage, form=form))

    def choose(
        self, sections: Sequence[Section], candidates: Sequence[Picture], allowance: Allowance | None = None
    ) -> Choice:
        """Says how likely each candidate is to belong after the last section; raises like `stream`.

        Args:
            sections: the article up to the place.
            candidates: pictures for it.
            allowance: what the choices of the article have read so far; None for a choice of its own.
        """
        with self._turn("choose"):
            return select(self.model, sections, candidates, allowance=allowance, cancelled=self._context.is_cancelled)

    def answered(self, sections: Sequence[Section], candidates: Sequence[Picture]) -> int | None:
        """Returns the number of the first offered letter in a whole answer, as the releases read it; None without."""
        answer = self.say(lambda prompts: prompts.choose(sections, candidates), "choose")
        offered = LETTERS[: len(candidates)]
        return next((offered.index(character) for character in answer if character in offered), None)

    @contextmanager
    def _turn(self, stage: Stage) -> Iterator[None]:
        turn = self._lane.enter(self._context.remaining_s, owner=self._context)
        with turn, api.stage(_STAGES[stage]), self._translated():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except base.EndpointUnavailable as error:
            raise Unavailable(str(error)) from None
        except base.ModelError as error:
            self._context.remaining_s()  # what broke off because nobody waits is no failure
            raise ModelError(str(error)) from None
