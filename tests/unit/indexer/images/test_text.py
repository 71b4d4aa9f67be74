"""Bytes of old programs become words or nothing, and invisible characters are removed."""

import pytest

from xcomp_indexer.images import text


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("utf-8", "窗边的橘猫"),
        ("gb18030", "窗边的橘猫，北京"),
        ("gb18030", "My cat 小明 2024"),
        ("big5", "窗邊的橘貓"),
        ("big5", "臺北的夜景"),
        ("shift_jis", "窓辺の猫"),
        ("shift_jis", "東京タワー"),
        ("cp1252", "“Café” – the owner’s cat costs 5 €"),
        ("cp1252", "Größe: Übergröße"),
        ("cp1252", "CRÉÉE À L’ÉTÉ"),
        ("cp1252", "Ångström, smörgåsbord"),
        ("cp1252", "© 2024 Ann"),
        ("latin-1", "Zürich"),
    ],
)
def test_words_survive_in_the_charset_of_their_program(charset: str, words: str) -> None:
    assert text.decode(words.encode(charset)) == words


def test_words_of_another_script_are_left_out_and_never_become_latin_letters() -> None:
    assert text.decode("Кошка".encode("cp1251")) == ""


def test_the_values_of_a_block_decide_together() -> None:
    values = [word.encode("gb18030") for word in ("猫", "北京", "窗边的橘猫")]
    charset = text.choose_charset(values)
    assert [text.decode(each, charset) for each in values] == ["猫", "北京", "窗边的橘猫"]


def test_invisible_characters_are_removed_and_joiners_of_emoji_are_kept() -> None:
    hidden = "\u200b\u00ad\u2060\ufeff\u061c\u3164\U000e0041\u202e\x00"
    assert text.clean_text(f"har{hidden}bour\u200d") == "harbour"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert text.clean_text(family) == family
