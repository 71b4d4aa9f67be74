"""The background texts are read from the data file that is installed with the package."""

from xcomp_indexer.search import background


def test_each_language_has_as_many_texts_all_different() -> None:
    english, chinese = background.texts({"en"}), background.texts({"zh"})
    assert len(english) == len(chinese) == len(set(english)) == len(set(chinese)) == 64


def test_texts_of_both_languages_come_in_the_order_of_the_file() -> None:
    assert background.texts({"zh", "en", "fr"}) == background.texts({"en"}) + background.texts({"zh"})
