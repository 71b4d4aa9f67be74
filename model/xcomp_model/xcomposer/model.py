"""InternLM-XComposer behind the seam: prompts in, text and choices out, for both versions alike.

The one idea: a choice is read off the scores of every way to write each option, not off an answer; and what was read
once is not read again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from xcomp_model.base import AnswerGrammar, Capabilities, Choice, ModelError, Prompt, Prompts, Sampling, never
from xcomp_model.decoding import GrammarMask, StopStrings, TokenSampler, weigh
from xcomp_model.xcomposer.runtime.kv_cache import GenerationCancelled
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Decoder, Tokenizer, Unit

_LEAST_MASS = 0.5
_AT_ONCE = 8  # answers that share their passes
_LEAST_ANSWER = 8  # positions that a prompt leaves for its answer; every stage's builder leaves more


@dataclass(frozen=True)
class ModelInfo:
    """What a loaded model is called and can do.

    Attributes:
        ends: names of the control marks that end an answer.
        lead_ins: what may stand between a prompt and the option it asks for.
        is_reference: choices are read off a generated letter, as released.
    """

    name: str
    digest: str
    context_tokens: int
    ends: Sequence[str]
    lead_ins: Sequence[str]
    is_reference: bool = False


class XComposer:
    """A `VisionLanguageModel`."""

    def __init__(
        self,
        reader: Runner,
        tokenizer: Tokenizer,
        card: ModelInfo,
        *,
        prompts: Callable[[Callable[[Prompt], int]], Prompts],
    ) -> None:
        self._reader = reader
        self._tokenizer = tokenizer
        self._card = card
        self._ends = tuple(tokenizer.controls[name] for name in card.ends)
        self.name, self.digest = card.name, card.digest
        self.capabilities = Capabilities(
            sees=True, languages=frozenset({"en", "zh"}), logprobs=not card.is_reference,
            context_tokens=card.context_tokens, at_once=1 if card.is_reference else _AT_ONCE,
            writes_markdown=False,
        )  # fmt: skip
        self.prompts = prompts(self.count_tokens)

    @property
    def positions_read(self) -> int:
        """Positions that went through the decoder so far."""
        return self._reader.positions_read

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts the positions of a prompt."""
        return sum(map(self._reader.rows_of, self._tokenizer.units(prompt)))

    def stream(self, prompt: Prompt, sampling: Sampling, *, cancelled: Callable[[], bool] = never) -> Iterator[str]:
        """Yields the answer as it is drawn; a beam search yields it at its end."""
        units = self._checked(prompt)
        decoder, stops = Decoder(self._tokenizer), StopStrings(sampling.stop)
        tokens = self._searched if sampling.beams > 1 else self._drawn
        try:
            for token in tokens(units, sampling, cancelled):
                text = stops.push(decoder.push(token))
                if text:
                    yield text
                if stops.is_done:
                    return
        except GenerationCancelled:
            return
        rest = stops.push(decoder.flush()) + stops.flush()
        if rest:
            yield rest

    def choose(self, prompt: Prompt, options: Sequence[str], *, cancelled: Callable[[], bool] = never) -> Choice:
        """Weighs the options by the scores of all their spellings after all lead-ins."""
        if not options or len(set(options)) < len(options) or not all(options):
            raise ModelError(f"cannot choose from {list(options)}: offer different options")
        if self._card.is_reference:
            return self._answered(prompt, options, cancelled)
        try:
            shares = self._weighed(self._checked(prompt), options, cancelled)
        except GenerationCancelled:
            raise ModelError("the choice was broken off: nobody waits for it") from None
        mass = sum(shares)
        if not mass >= _LEAST_MASS:  # scores that are no numbers fail here, too
            raise ModelError(
                f"{self.name} gave the options {', '.join(options)} only {mass:.1%} of its probability with the prompt "
                f"{self.prompts.version}: these weights do not follow it"
            )
        return Choice(tuple(share / mass for share in shares), mass=min(mass, 1.0))

    def _weighed(self, units: Sequence[Unit], options: Sequence[str], cancelled: Callable[[], bool]) -> list[float]:
        spellings = {
            path: number
            for number, option in enumerate(options)
            for lead_in in self._card.lead_ins
            for path in self._tokenizer.spellings(lead_in + option)
        }
        with self._reader.reading(units, more=sum(map(len, spellings)), cancelled=cancelled) as (prefix, logits):
            return weigh(
                spellings, logits, options=len(options), after=lambda paths: list(self._reader.branch(prefix, paths))
            )

    def _answered(self, prompt: Prompt, options: Sequence[str], cancelled: Callable[[], bool]) -> Choice:
        # The released parse: the first offered letter of the answer, the first candidate where there is none.
        answer = "".join(self.stream(prompt, self.prompts.sampling("choose"), cancelled=cancelled))
        found = [(answer.find(option), number) for number, option in enumerate(options) if option in answer]
        chosen = min(found)[1] if found else 0
        return Choice(tuple(float(number == chosen) for number in range(len(options))), mass=1.0)

    def _drawn(self, units: Sequence[Unit], sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[int]:
        drawer = TokenSampler(sampling, device=self._reader.device)
        bound = self._bound(sampling.form) if sampling.form else None
        most = self._answer_tokens(units, sampling)
        with (
            self._reader.reading(units, more=most, cancelled=cancelled) as (prefix, logits),
            self._reader.drawing(prefix) as read_on,
        ):
            for number in range(most):
                token = drawer.draw(logits, bound.allowed() if bound else None)
                if token in self._ends or cancelled():
                    break
                if bound:
                    bound.push(token)
                yield token
                if number + 1 < most:
                    logits = read_on(token)

    def _searched(self, units: Sequence[Unit], sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[int]:
        if sampling.temperature or sampling.form:
            raise ModelError("beams search, they do not draw: leave temperature and form out")
        bounded = replace(sampling, max_new_tokens=self._answer_tokens(units, sampling))
        found = self._reader.search(units, bounded, ends=self._ends, cancelled=cancelled)
        yield from takewhile(lambda token: token not in self._ends and not cancelled(), found)

    def _answer_tokens(self, units: Sequence[Unit], sampling: Sampling) -> int:
        room = self._card.context_tokens - sum(map(self._reader.rows_of, units))
        return min(sampling.max_new_tokens, room)

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {i: piece for i, piece in self._tokenizer.pieces() if piece}

    def _bound(self, form: AnswerGrammar) -> GrammarMask:
        return GrammarMask(form, self._pieces, self._ends, size=self._reader.vocabulary, device=self._reader.device)

    def _checked(self, prompt: Prompt) -> list[Unit]:
        units = self._tokenizer.units(prompt)
        if not units:
            raise ModelError("the prompt is empty: say something")
        rows = sum(map(self._reader.rows_of, units))
        if rows + _LEAST_ANSWER > self._card.context_tokens:
            raise ModelError(
                f"the prompt takes {rows} positions of {self._card.context_tokens} that {self.name} has: shorten it"
            )
        return units
