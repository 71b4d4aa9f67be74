"""The record of a repository's spaces: parsed as it was written, also by older versions."""

from dataclasses import replace

import pytest

from tests.fakes import CountingEmbedder, OtherEmbedder
from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.profiles import SpaceSpec

# As versions before format 3 wrote it.
OLD = {
    "profile": "clip",
    "models": {
        name: {"model": f"{name}@1", "digest": "ab", "dimension": 512, "image_size": 224, "languages": [name]}
        for name in ("zh", "en")
    },
}


def test_what_is_written_comes_back() -> None:
    record = spaces.create_config("color", {"color": CountingEmbedder()})
    other = spaces.create_space(SpaceSpec("new", "other:x"), OtherEmbedder(), templates=("a {}",), filling=True)
    for changed in (record, record.with_space(other), record.with_space(other).with_active(("new", "color"))):
        assert spaces.parse_config(changed.write()) == changed


def test_a_record_of_an_older_version_has_the_spaces_of_its_profile() -> None:
    record = spaces.parse_config(OLD)
    assert record.active == ("en", "zh")
    assert record.spaces["en"].source == "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert {record.state(name) for name in record.spaces} == {"active"}


def test_states_follow_from_what_answers_and_what_is_filled() -> None:
    old = spaces.parse_config(OLD)
    record = old.with_space(replace(old.spaces["en"], name="new", filling=True, languages=("en", "zh")))
    assert [record.state(name) for name in ("en", "zh", "new")] == ["active", "active", "filling"]
    assert record.with_complete("new").state("new") == "standby"
    switched = record.with_active(("new",))
    assert [switched.state(name) for name in ("en", "zh", "new")] == ["standby", "standby", "active"]
    assert switched.languages() == {"en", "zh"}
    assert switched.with_active(("en",)).state("new") == "filling"  # it was switched to by force


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "sepia"},
        {"profile": 3},
        {"models": []},
        {"models": {}},
        {"models": {"en": 3}},
        {"active": []},
        {"active": ["fr"]},
        {"active": "en"},
    ],
)
def test_an_invalid_record_is_refused_in_one_line_that_names_the_field(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"^the record of its models cannot be read: .*{next(iter(change))}.*$"):
        spaces.parse_config({**OLD, **change})


@pytest.mark.parametrize(
    "change", [{"dimension": 0}, {"dimension": "512"}, {"image_size": 10**6}, {"digest": 3}, {"languages": "en"}]
)
def test_an_invalid_space_is_refused_in_one_line_that_names_the_field(change: dict[str, object]) -> None:
    models = {name: {**model, **change} for name, model in OLD["models"].items()}  # type: ignore[attr-defined]  # a table
    with pytest.raises(ValueError, match=rf"^the record of its models cannot be read: .*\.{next(iter(change))}.*$"):
        spaces.parse_config({**OLD, "models": models})
