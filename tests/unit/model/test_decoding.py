"""Drawing tokens, stop strings and option probabilities, on scores made by hand."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from xcomp_model.base import ModelFailure, Sampling
from xcomp_model.decoding import GrammarMask, StopStrings, TokenSampler, option_probabilities

CPU = torch.device("cpu")


def draw(sampling: Sampling, scores: list[float], *, count: int, allowed: Tensor | None = None) -> list[int]:
    sampler = TokenSampler(sampling, device=CPU)
    return [sampler.draw(torch.tensor(scores), allowed) for _ in range(count)]


def test_greedy_sampling_takes_the_best_allowed_token() -> None:
    assert draw(Sampling(), [1.0, 3.0, 2.0], count=2) == [1, 1]
    assert draw(Sampling(), [1.0, 3.0, 2.0], count=1, allowed=torch.tensor([True, False, True])) == [2]


class Abba:
    """A grammar of one answer."""

    characters = frozenset("ab")

    def is_prefix(self, answer: str) -> bool:
        return "abba".startswith(answer)

    def is_complete(self, answer: str) -> bool:
        return answer == "abba"


def test_an_answer_obeys_its_grammar_whatever_the_scores_prefer() -> None:
    pieces = {0: "b", 1: "x", 2: "ba", 3: "a", 4: "bb"}
    mask = GrammarMask(Abba(), pieces, ends=[5], size=6, device=CPU)
    sampler, answer = TokenSampler(Sampling(), device=CPU), []
    while (token := sampler.draw(torch.tensor([3.0, 9.0, 2.0, 1.0, 0.0, 8.0]), mask.allowed_tokens())) != 5:
        mask.push(token)
        answer.append(token)
    assert answer == [3, 0, 0, 3]


def test_tokens_that_cannot_obey_the_grammar_are_an_error() -> None:
    mask = GrammarMask(Abba(), {0: "b"}, ends=[1], size=2, device=CPU)
    with pytest.raises(ModelFailure, match="no token of the model continues ''"):
        mask.allowed_tokens()


def test_the_penalty_avoids_tokens_of_the_answer() -> None:
    assert draw(Sampling(repetition_penalty=5.0), [1.0, 3.0, 2.0], count=3) == [1, 2, 0]


def test_the_seed_decides_what_is_drawn() -> None:
    scores = [0.1 * i for i in range(50)]
    first, again, other = (draw(Sampling(temperature=1.0, seed=s), scores, count=20) for s in (7, 7, 8))
    assert first == again != other


def test_top_k_and_top_p_leave_the_tail_out() -> None:
    scores = [5.0, 4.9, 1.0, 0.9, 0.8]
    assert set(draw(Sampling(temperature=1.0, top_k=2), scores, count=50)) == {0, 1}
    assert set(draw(Sampling(temperature=1.0, top_p=0.5), scores, count=50)) == {0}


def test_scores_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(ModelFailure, match="bf16 or fp32"):
        draw(Sampling(), [1.0, float("nan")], count=1)


@pytest.mark.parametrize("pieces", [['a cat" and'], ["a", " cat", '"', " and"], ["a c", 'at" a', "nd"]])
def test_an_answer_ends_before_its_stop_string_however_it_is_split(pieces: list[str]) -> None:
    stops = StopStrings(['"'])
    text = "".join(stops.push(piece) for piece in pieces if not stops.is_done) + stops.flush()
    assert text == "a cat"
    assert stops.is_done


def test_the_possible_start_of_a_stop_string_is_held_back_until_the_end() -> None:
    stops = StopStrings(["###"])
    assert [stops.push("x#"), stops.push("#"), stops.push("y##")] == ["x", "", "##y"]
    assert stops.flush() == "##"
    assert not stops.is_done


def scores_after(table: dict[tuple[int, ...], list[float]]) -> Callable[[Sequence[tuple[int, ...]]], list[Tensor]]:
    return lambda paths: [torch.tensor(table[path]).log() for path in paths]


def test_probabilities_add_up_all_spellings_of_an_option() -> None:
    first = torch.tensor([0.5, 0.3, 0.2]).log()
    spellings = {(0,): 0, (1,): 1, (2, 0): 0, (2, 1): 1}
    shares = option_probabilities(spellings, first, options=2, after=scores_after({(2,): [0.1, 0.6, 0.3]}))
    assert shares == pytest.approx([0.5 + 0.2 * 0.1, 0.3 + 0.2 * 0.6])


def test_all_paths_are_scored_in_one_call() -> None:
    asked: list[list[tuple[int, ...]]] = []

    def after(paths: Sequence[tuple[int, ...]]) -> list[Tensor]:
        asked.append(list(paths))
        return [torch.zeros(3) for _ in paths]

    option_probabilities({(0,): 0, (1, 0): 0, (1, 2, 0): 0, (1, 2, 1): 1}, torch.zeros(3), options=2, after=after)
    assert asked == [[(1,), (1, 2)]]


def test_an_option_that_is_a_prefix_of_another_does_not_take_its_share() -> None:
    first = torch.tensor([0.8, 0.2]).log()
    shares = option_probabilities({(0,): 0, (0, 1): 1}, first, options=2, after=scores_after({(0,): [0.25, 0.75]}))
    assert shares == pytest.approx([0.8 - 0.6, 0.6])
