"""Texts for people stand in data files: complete in both languages, with the same facts."""

import string

import pytest

from xcomp_composer.illustrate.retrieval.paragraphs import LANGUAGES, load_examples
from xcomp_composer.illustrate.wording import explain, read_toml


def reasons(language: str) -> dict[str, str]:
    texts = read_toml("reasons.toml")[language]
    assert isinstance(texts, dict)
    return texts


def test_every_reason_is_there_in_both_languages_with_the_same_facts() -> None:
    def facts(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert reasons("en").keys() == reasons("zh").keys()
    for key, text in reasons("en").items():
        assert facts(text) == facts(reasons("zh")[key]), key
        assert "\n" not in text


@pytest.mark.parametrize(("language", "word"), [("en", "image"), ("zh", "图片"), ("fr", "image")])
def test_a_reason_is_in_the_language_of_the_article(language: str, word: str) -> None:
    assert word in explain("nothing", language)


def test_there_are_as_many_scenes_as_statements_in_each_language() -> None:
    for language in LANGUAGES:
        examples = load_examples(language)
        assert len(examples.scenes) == len(examples.statements) == 8
        assert len(set(examples.texts)) == 16
