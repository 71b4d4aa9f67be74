"""From scores to answers: drawing tokens, stopping at words, and weighing options.

It knows scores and ids; where they come from, a model or a test, is the caller's matter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from xcomp_model.base import AnswerGrammar, ModelError, Sampling

Path = tuple[int, ...]  # ids of an answer's beginning


class TokenSampler:
    """Draws the next token again and again; its state is the answer so far and the seed."""

    def __init__(self, sampling: Sampling, *, device: torch.device) -> None:
        self._is_greedy = sampling.temperature == 0
        self._penalty = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        self._warpers = _warpers(sampling)
        self._answer = torch.empty(1, 0, dtype=torch.long, device=device)
        self._generator = torch.Generator(device=device).manual_seed(sampling.seed)

    def draw(self, logits: Tensor, allowed: Tensor | None = None) -> int:
        """Picks the next token from its scores [V], among those that are allowed [V]."""
        scores = logits.float()[None].to(self._answer.device)
        if bool(scores.isnan().any()):
            raise ModelError("the model's scores are no numbers: try the precision bf16 or fp32")
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        scores = self._penalty(self._answer, scores)
        if self._is_greedy:
            token = scores.argmax(dim=-1, keepdim=True)
        else:
            for warp in self._warpers:
                scores = warp(self._answer, scores)
            token = torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator)
        self._answer = torch.cat((self._answer, token), dim=-1)
        return int(token)


class GrammarMask:
    """Says which tokens may come next, so that an answer keeps to its form.

    Args:
        form: of the answer.
        pieces: text of every token that has one.
        ends: tokens that end an answer.
        size: of the vocabulary.
        device: where scores are.
    """

    def __init__(
        self, form: AnswerGrammar, pieces: Mapping[int, str], ends: Sequence[int], *, size: int, device: torch.device
    ) -> None:
        self._form = form
        self._pieces = {token: piece for token, piece in pieces.items() if form.characters.issuperset(piece)}
        self._tree = _Tree()
        for token, piece in self._pieces.items():
            self._tree.add(piece, token)
        self._ends = list(ends)
        self._size, self._device = size, device
        self._said = ""

    def allowed(self) -> Tensor:
        """Returns the tokens that may come next, [V]."""
        next_ = list(self._tree.tokens(self._said, self._form))
        next_ += self._ends if self._form.may_end(self._said) else []
        if not next_:
            raise ModelError(f"the tokens of the model cannot go on from {self._said!r} in the form that is asked for")
        mask = torch.zeros(self._size, dtype=torch.bool)
        mask[next_] = True
        return mask.to(self._device)

    def push(self, token: int) -> None:
        """Takes a token that was drawn."""
        self._said += self._pieces[token]


@dataclass
class _Tree:
    """Tokens by their text, character by character: what no answer begins with is passed over with all below it."""

    here: list[int] = field(default_factory=list)
    below: dict[str, "_Tree"] = field(default_factory=dict)

    def add(self, piece: str, token: int) -> None:
        tree = self
        for character in piece:
            tree = tree.below.setdefault(character, _Tree())
        tree.here.append(token)

    def tokens(self, said: str, form: AnswerGrammar) -> Iterator[int]:
        for character, tree in self.below.items():
            if form.may_begin(longer := said + character):
                yield from tree.here
                yield from tree.tokens(longer, form)


class StopStrings:
    """Holds text back while it may be the beginning of a stop string, and cuts at the first one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_done = False

    def push(self, text: str) -> str:
        """Takes text; returns what is certain to belong to the answer."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_done = True
            return self._release(min(found))
        return self._release(len(self._held) - self._doubtful())

    def flush(self) -> str:
        """Returns what was held back."""
        return "" if self.is_done else self._release(len(self._held))

    def _doubtful(self) -> int:
        lengths = (n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n]))
        return max(lengths, default=0)

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text


def weigh(
    spellings: Mapping[Path, int],
    first: Tensor,
    *,
    options: int,
    after: Callable[[Sequence[Path]], Sequence[Tensor]],
) -> list[float]:
    """Adds up, for every option, the probabilities of all its spellings among everything that could have been said.

    A spelling that goes on to be one of another option counts for the longer one where it does go on.

    Args:
        spellings: ids, lead-in included, to the number of their option.
        first: scores [V] of the first token.
        options: how many there are.
        after: scores [V] of the token after each of some paths; asked once, for all that any spelling passes.
    """
    passed = sorted({path[:n] for path in spellings for n in range(1, len(path))})
    log_probs: dict[Path, Tensor] = {(): first.float().log_softmax(dim=-1)}
    for path, scores in zip(passed, after(passed) if passed else (), strict=True):
        log_probs[path] = scores.float().log_softmax(dim=-1)
    shares = [0.0] * options
    for path, option in spellings.items():
        share = exp(sum(float(log_probs[path[:n]][token]) for n, token in enumerate(path)))
        shares[option] += share
        shorter = next((path[:n] for n in range(len(path) - 1, 0, -1) if path[:n] in spellings), None)
        if shorter is not None:
            shares[spellings[shorter]] -= share
    return [max(share, 0.0) for share in shares]


def _warpers(sampling: Sampling) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if sampling.temperature not in (0, 1):
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
