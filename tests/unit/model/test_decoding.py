"""Drawing, stopping and weighing, on scores made by hand."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from xcomp_model.base import ModelError, Sampling
from xcomp_model.decoding import GrammarMask, StopStrings, TokenSampler, weigh

CPU = torch.device("cpu")


def drawn(sampling: Sampling, scores: list[float], *, count: int, allowed: Tensor | None = None) -> list[int]:
    drawer = TokenSampler(sampling, device=CPU)
    return [drawer.draw(torch.tensor(scores), allowed) for _ in range(count)]


def test_greedy_takes_the_best_and_never_a_forbidden_token() -> None:
    assert drawn(Sampling(), [1.0, 3.0, 2.0], count=2) == [1, 1]
    assert drawn(Sampling(), [1.0, 3.0, 2.0], count=1, allowed=torch.tensor([True, False, True])) == [2]


class Abba:
    """A form that one answer has."""

    characters = frozenset("ab")

    def may_begin(self, said: str) -> bool:
        return "abba".startswith(said)

    def may_end(self, said: str) -> bool:
        return said == "abba"


def test_a_bound_answer_has_its_form_whatever_the_scores_prefer() -> None:
    pieces = {0: "b", 1: "x", 2: "ba", 3: "a", 4: "bb"}
    bound = GrammarMask(Abba(), pieces, ends=[5], size=6, device=CPU)
    drawer, said = TokenSampler(Sampling(), device=CPU), []
    while (token := drawer.draw(torch.tensor([3.0, 9.0, 2.0, 1.0, 0.0, 8.0]), bound.allowed())) != 5:
        bound.push(token)
        said.append(token)
    assert said == [3, 0, 0, 3]


def test_tokens_that_cannot_write_the_form_are_an_error() -> None:
    bound = GrammarMask(Abba(), {0: "b"}, ends=[1], size=2, device=CPU)
    with pytest.raises(ModelError, match="cannot go on from ''"):
        bound.allowed()


def test_penalty_moves_on_from_tokens_already_said() -> None:
    assert drawn(Sampling(repetition_penalty=5.0), [1.0, 3.0, 2.0], count=3) == [1, 2, 0]


def test_the_seed_decides_what_is_drawn() -> None:
    scores = [0.1 * i for i in range(50)]
    first, again, other = (drawn(Sampling(temperature=1.0, seed=s), scores, count=20) for s in (7, 7, 8))
    assert first == again != other


def test_top_k_and_top_p_leave_the_tail_out() -> None:
    scores = [5.0, 4.9, 1.0, 0.9, 0.8]
    assert set(drawn(Sampling(temperature=1.0, top_k=2), scores, count=50)) == {0, 1}
    assert set(drawn(Sampling(temperature=1.0, top_p=0.5), scores, count=50)) == {0}


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ModelError, match="bf16 or fp32"):
        drawn(Sampling(), [1.0, float("nan")], count=1)


@pytest.mark.parametrize("pieces", [['a cat" and'], ["a", " cat", '"', " and"], ["a c", 'at" a', "nd"]])
def test_an_answer_ends_before_its_stop_however_it_is_cut(pieces: list[str]) -> None:
    stops = StopStrings(['"'])
    text = "".join(stops.push(piece) for piece in pieces if not stops.is_done) + stops.flush()
    assert text == "a cat"
    assert stops.is_done


def test_what_may_be_a_stop_is_held_back_and_given_at_the_end() -> None:
    stops = StopStrings(["###"])
    assert [stops.push("x#"), stops.push("#"), stops.push("y##")] == ["x", "", "##y"]
    assert stops.flush() == "##"
    assert not stops.is_done


def answers(table: dict[tuple[int, ...], list[float]]) -> Callable[[Sequence[tuple[int, ...]]], list[Tensor]]:
    return lambda paths: [torch.tensor(table[path]).log() for path in paths]


def test_weights_add_up_all_spellings_of_an_option() -> None:
    first = torch.tensor([0.5, 0.3, 0.2]).log()
    spellings = {(0,): 0, (1,): 1, (2, 0): 0, (2, 1): 1}
    shares = weigh(spellings, first, options=2, after=answers({(2,): [0.1, 0.6, 0.3]}))
    assert shares == pytest.approx([0.5 + 0.2 * 0.1, 0.3 + 0.2 * 0.6])


def test_every_path_is_asked_for_once_and_together() -> None:
    asked: list[list[tuple[int, ...]]] = []

    def after(paths: Sequence[tuple[int, ...]]) -> list[Tensor]:
        asked.append(list(paths))
        return [torch.zeros(3) for _ in paths]

    weigh({(0,): 0, (1, 0): 0, (1, 2, 0): 0, (1, 2, 1): 1}, torch.zeros(3), options=2, after=after)
    assert asked == [[(1,), (1, 2)]]


def test_an_option_that_begins_another_does_not_take_its_share() -> None:
    first = torch.tensor([0.8, 0.2]).log()
    shares = weigh({(0,): 0, (0, 1): 1}, first, options=2, after=answers({(0,): [0.25, 0.75]}))
    assert shares == pytest.approx([0.8 - 0.6, 0.6])
