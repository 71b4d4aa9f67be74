"""From scores to answers: draw tokens, obey a grammar, stop at strings, and add up the probabilities of options.

It takes scores and token ids from its caller and does not depend on a network or a tokenizer.
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

from xcomp_model.base import AnswerGrammar, ModelFailure, Sampling

TokenPath = tuple[int, ...]  # the first tokens of an answer


class TokenSampler:
    """Draws one token after the other; its state is the answer so far and the random generator."""

    def __init__(self, sampling: Sampling, *, device: torch.device) -> None:
        self._is_greedy = sampling.temperature == 0
        self._penalty = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)
        self._warpers = _warpers(sampling)
        self._answer = torch.empty(1, 0, dtype=torch.long, device=device)
        self._generator = torch.Generator(device=device).manual_seed(sampling.seed)

    def draw(self, logits: Tensor, allowed: Tensor | None = None) -> int:
        """Draws the next token from its scores [V], restricted to the `allowed` tokens [V]."""
        scores = logits.float()[None].to(self._answer.device)
        if bool(scores.isnan().any()):
            raise ModelFailure("the scores of the model are not numbers: try the precision bf16 or fp32")
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
    """Says which tokens may come next so that the answer obeys a grammar.

    Args:
        grammar: of the answer.
        texts: of the tokens that have one.
        ends: tokens that end an answer.
        size: of the vocabulary.
        device: of the scores.
    """

    def __init__(
        self, grammar: AnswerGrammar, texts: Mapping[int, str], ends: Sequence[int], *, size: int, device: torch.device
    ) -> None:
        self._grammar = grammar
        self._texts = {token: text for token, text in texts.items() if grammar.characters.issuperset(text)}
        self._trie = _Trie()
        for token, text in self._texts.items():
            self._trie.add(text, token)
        self._ends = list(ends)
        self._size, self._device = size, device
        self._answer = ""

    def allowed_tokens(self) -> Tensor:
        """Returns a mask [V] of the tokens that may come next."""
        tokens = list(self._trie.allowed_tokens(self._answer, self._grammar))
        tokens += self._ends if self._grammar.is_complete(self._answer) else []
        if not tokens:
            raise ModelFailure(f"no token of the model continues {self._answer!r} as the grammar of the answer demands")
        mask = torch.zeros(self._size, dtype=torch.bool)
        mask[tokens] = True
        return mask.to(self._device)

    def push(self, token: int) -> None:
        """Appends a drawn token to the answer."""
        self._answer += self._texts[token]


@dataclass
class _Trie:
    """Tokens by their text, character by character; a branch that no answer can take is skipped as a whole."""

    here: list[int] = field(default_factory=list)
    below: dict[str, "_Trie"] = field(default_factory=dict)

    def add(self, text: str, token: int) -> None:
        node = self
        for character in text:
            node = node.below.setdefault(character, _Trie())
        node.here.append(token)

    def allowed_tokens(self, answer: str, grammar: AnswerGrammar) -> Iterator[int]:
        for character, node in self.below.items():
            if grammar.is_prefix(longer := answer + character):
                yield from node.here
                yield from node.allowed_tokens(longer, grammar)


class StopStrings:
    """Cuts an answer at the first stop string, and holds text back while it may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._pending = ""
        self.is_done = False

    def push(self, text: str) -> str:
        """Appends text; returns what certainly belongs to the answer."""
        self._pending += text
        found = [at for stop in self._stops if (at := self._pending.find(stop)) >= 0]
        if found:
            self.is_done = True
            return self._release(min(found))
        return self._release(len(self._pending) - self._held_length())

    def flush(self) -> str:
        """Returns the text that was held back."""
        return "" if self.is_done else self._release(len(self._pending))

    def _held_length(self) -> int:
        lengths = (n for stop in self._stops for n in range(1, len(stop)) if self._pending.endswith(stop[:n]))
        return max(lengths, default=0)

    def _release(self, count: int) -> str:
        text, self._pending = self._pending[:count], self._pending[count:]
        return text


def option_probabilities(
    spellings: Mapping[TokenPath, int],
    first: Tensor,
    *,
    options: int,
    after: Callable[[Sequence[TokenPath]], Sequence[Tensor]],
) -> list[float]:
    """Returns, for each option, the sum of the probabilities of all its spellings among all possible answers.

    If a spelling can be continued to a spelling of another option, its continuation counts for that other option only.

    Args:
        spellings: token ids, lead-in included, with the number of their option.
        first: scores [V] of the first token.
        options: how many there are.
        after: returns the scores [V] of the next token after each path; called once, with all paths that are needed.
    """
    prefixes = sorted({path[:n] for path in spellings for n in range(1, len(path))})
    log_probs: dict[TokenPath, Tensor] = {(): first.float().log_softmax(dim=-1)}
    for path, scores in zip(prefixes, after(prefixes) if prefixes else (), strict=True):
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
