"""What is printed about an image is true of the image."""

import pytest

from xcomp_composer.article.captions import PrintedTexts, select_printed_texts, select_title
from xcomp_composer.article.model import Json, Label

CHURCH = (Label("church", "教堂", 0.79), Label("monastery", "修道院", 0.1))


@pytest.mark.parametrize(
    ("metadata", "language", "words"),
    [
        ({"title": "A pier", "caption": "The pier"}, "en", PrintedTexts("The pier", "The pier")),
        ({"title": "A pier", "alt": "Planks over water"}, "en", PrintedTexts("A pier", "Planks over water")),
        ({"title": "A pier", "title_zh": "栈桥"}, "zh", PrintedTexts("栈桥", "栈桥")),
        ({"title": "栈桥"}, "zh", PrintedTexts("栈桥", "栈桥")),
        ({"title": "栈桥", "title_en": "A pier"}, "en", PrintedTexts("A pier", "A pier")),
        ({"title": "A pier"}, "zh", PrintedTexts()),
        ({"title": 7, "caption": ["a", "list"], "alt": " \n "}, "en", PrintedTexts()),
        ({"title": "Pi\u200ber\u00ad \u3164\U000e0041x\ufeff"}, "en", PrintedTexts("Pier x")),
        ({"title": "Two\nlines\x00 and \u202ebackwards"}, "en", PrintedTexts("Two lines and backwards")),
    ],
)  # fmt: skip
def test_words_come_from_metadata_in_the_articles_language(
    metadata: dict[str, Json], language: str, words: PrintedTexts
) -> None:
    found = select_printed_texts(metadata, (), language)
    assert (found.caption, found.alt or found.caption) == (words.caption, words.alt or words.caption)


def test_a_class_that_is_sure_is_named_in_the_articles_language() -> None:
    assert select_printed_texts({}, CHURCH, "en") == PrintedTexts("Church", "Church")
    assert select_printed_texts({}, CHURCH, "zh") == PrintedTexts("教堂", "教堂")


def test_a_class_that_is_not_sure_is_not_named() -> None:
    assert select_printed_texts({}, (Label("hip", "蔷薇果", 0.49),), "en") == PrintedTexts()


@pytest.mark.parametrize(
    ("metadata", "credit"),
    [
        ({"credit": "Ada", "license": "CC0"}, "Ada, CC0"),
        ({"copyright": "© 2024 Ada", "source": "Archive"}, "© 2024 Ada"),
        ({"source": "Archive"}, "Archive"),
        ({"credit": "Ada, CC BY 4.0", "license": "CC BY 4.0"}, "Ada, CC BY 4.0"),
        ({"license": "CC0"}, "CC0"),
        ({}, ""),
    ],
)  # fmt: skip
def test_credit_names_who_and_the_licence(metadata: dict[str, Json], credit: str) -> None:
    assert select_printed_texts(metadata, (), "zh").credit == credit


def test_a_title_to_search_by_may_be_in_another_language_that_the_space_understands() -> None:
    assert select_title({"title": "A pier"}, ["zh", "en"]) == "A pier"
    assert select_title({"title": "A pier", "title_zh": "栈桥"}, ["zh", "en"]) == "栈桥"
    assert select_title({"title": "A pier"}, ["zh"]) == ""
