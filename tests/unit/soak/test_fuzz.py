"""A small sample of the fuzzing proof; `make soak` runs the whole."""

from tests.soak.decode_fuzz import step
from tests.soak.mutants import mutant


def test_mutated_files_are_pictures_or_have_a_known_reason() -> None:
    result = step(seed=7, first=0, count=150)
    assert result["problems"] == []
    assert sum(result["reasons"].values()) == 150
    assert len(result["reasons"]) >= 4


def test_a_seed_makes_the_same_files_every_time() -> None:
    assert mutant(1, 5) == mutant(1, 5) != mutant(1, 6)
