"""InternLM-XComposer as a `VisionLanguageModel`: prompts in, text and choices out, for both versions.

A choice is computed from the scores of every way to write each option, not from a generated answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

from xcomp_model.base import (
    MIN_MASS,
    AnswerGrammar,
    CancelCheck,
    Choice,
    ModelFailure,
    Prompt,
    Prompts,
    Sampling,
    never,
)
from xcomp_model.decoding import GrammarMask, StopStrings, TokenSampler, option_probabilities
from xcomp_model.families import XCOMPOSER
from xcomp_model.xcomposer.runtime.kv_cache import GenerationCancelled
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Decoder, Tokenizer, Unit

_MIN_ANSWER = 8  # positions that a prompt must leave for its answer; the prompt builders leave more


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a loaded model.

    Attributes:
        ends: names of the control marks that end an answer.
        lead_ins: texts that may stand between a prompt and the option that it asks for.
        is_reference: a choice is read from a generated letter, as in the released code.
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
        runner: Runner,
        tokenizer: Tokenizer,
        info: ModelInfo,
        *,
        build_prompts: Callable[[Callable[[Prompt], int]], Prompts],
    ) -> None:
        self._runner = runner
        self._tokenizer = tokenizer
        self._info = info
        self._ends = tuple(tokenizer.controls[name] for name in info.ends)
        self.name, self.digest = info.name, info.digest
        capabilities = replace(XCOMPOSER.capabilities, context_tokens=info.context_tokens)
        self.capabilities = replace(capabilities, logprobs=False, at_once=1) if info.is_reference else capabilities
        self.prompts = build_prompts(self.count_tokens)

    @property
    def positions_read(self) -> int:
        """Positions that the decoder has read so far."""
        return self._runner.positions_read

    def count_tokens(self, prompt: Prompt) -> int:
        """Counts the positions of a prompt."""
        return sum(map(self._runner.count_rows, self._tokenizer.encode_prompt(prompt)))

    def stream(self, prompt: Prompt, sampling: Sampling, *, is_cancelled: CancelCheck = never) -> Iterator[str]:
        """Yields the answer while it is drawn; a beam search yields it at its end."""
        units = self._encode(prompt)
        decoder, stops = Decoder(self._tokenizer), StopStrings(sampling.stop)
        tokens = self._beam_search if sampling.beams > 1 else self._sample
        try:
            for token in tokens(units, sampling, is_cancelled):
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

    def choose(self, prompt: Prompt, options: Sequence[str], *, is_cancelled: CancelCheck = never) -> Choice:
        """Returns the probabilities of the options: of all their spellings, after all lead-ins."""
        if not options or len(set(options)) < len(options) or not all(options):
            raise ModelFailure(f"cannot choose from {list(options)}: offer different options")
        if self._info.is_reference:
            return self._choose_by_answer(prompt, options, is_cancelled)
        try:
            shares = self._option_probabilities(self._encode(prompt), options, is_cancelled)
        except GenerationCancelled:
            raise ModelFailure("the choice was cancelled") from None
        mass = sum(shares)
        if not mass >= MIN_MASS:  # nan fails, too
            raise ModelFailure(
                f"{self.name} gave the options {', '.join(options)} only {mass:.1%} of its probability with the prompt "
                f"{self.prompts.version}: these weights do not follow it"
            )
        return Choice(tuple(share / mass for share in shares), mass=min(mass, 1.0))

    def _option_probabilities(
        self, units: Sequence[Unit], options: Sequence[str], is_cancelled: CancelCheck
    ) -> list[float]:
        spellings = {
            path: number
            for number, option in enumerate(options)
            for lead_in in self._info.lead_ins
            for path in self._tokenizer.spellings(lead_in + option)
        }
        more = sum(map(len, spellings))
        with self._runner.read_prompt(units, more=more, is_cancelled=is_cancelled) as (prefix, logits):
            return option_probabilities(
                spellings, logits, options=len(options), after=lambda paths: list(self._runner.branch(prefix, paths))
            )

    def _choose_by_answer(self, prompt: Prompt, options: Sequence[str], is_cancelled: CancelCheck) -> Choice:
        # As released: the first letter of the answer that is an option, else the first option.
        answer = "".join(self.stream(prompt, self.prompts.sampling("choose"), is_cancelled=is_cancelled))
        found = [(answer.find(option), number) for number, option in enumerate(options) if option in answer]
        chosen = min(found)[1] if found else 0
        return Choice(tuple(float(number == chosen) for number in range(len(options))), mass=1.0)

    def _sample(self, units: Sequence[Unit], sampling: Sampling, is_cancelled: CancelCheck) -> Iterator[int]:
        sampler = TokenSampler(sampling, device=self._runner.device)
        mask = self._grammar_mask(sampling.grammar) if sampling.grammar else None
        limit = self._answer_tokens(units, sampling)
        with (
            self._runner.read_prompt(units, more=limit, is_cancelled=is_cancelled) as (prefix, logits),
            self._runner.join_batch(prefix) as read_token,
        ):
            for number in range(limit):
                token = sampler.draw(logits, mask.allowed_tokens() if mask else None)
                if token in self._ends or is_cancelled():
                    break
                if mask:
                    mask.push(token)
                yield token
                if number + 1 < limit:
                    logits = read_token(token)

    def _beam_search(self, units: Sequence[Unit], sampling: Sampling, is_cancelled: CancelCheck) -> Iterator[int]:
        if sampling.temperature or sampling.grammar:
            raise ModelFailure("a beam search does not draw: leave temperature and grammar out")
        sampling = replace(sampling, max_new_tokens=self._answer_tokens(units, sampling))
        tokens = self._runner.search(units, sampling, ends=self._ends, is_cancelled=is_cancelled)
        yield from takewhile(lambda token: token not in self._ends and not is_cancelled(), tokens)

    def _answer_tokens(self, units: Sequence[Unit], sampling: Sampling) -> int:
        room = self._info.context_tokens - sum(map(self._runner.count_rows, units))
        return min(sampling.max_new_tokens, room)

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {i: piece for i, piece in self._tokenizer.text_pieces() if piece}

    def _grammar_mask(self, grammar: AnswerGrammar) -> GrammarMask:
        return GrammarMask(grammar, self._pieces, self._ends, size=self._runner.vocabulary, device=self._runner.device)

    def _encode(self, prompt: Prompt) -> list[Unit]:
        units = self._tokenizer.encode_prompt(prompt)
        if not units:
            raise ModelFailure("the prompt is empty: say something")
        rows = sum(map(self._runner.count_rows, units))
        if rows + _MIN_ANSWER > self._info.context_tokens:
            raise ModelFailure(
                f"the prompt takes {rows} positions, but {self.name} has {self._info.context_tokens}: shorten it"
            )
        return units
