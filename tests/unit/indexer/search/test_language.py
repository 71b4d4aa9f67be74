"""Which language a text is in."""

import pytest

from xcomp_indexer.search.language import detect, is_chinese


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a harbour at night", "en"),
        ("夜晚的港口", "zh"),
        ("Ein Hafen bei Nacht", "en"),
        ("", "en"),
        ("1234 !?", "en"),
        ("夜晚的 harbour 灯光倒映在水里", "zh"),
        ("a harbour 港口 at night", "mixed"),
        ("a very long English sentence about some harbours with one 港", "en"),
        ("𠀀𠀁", "zh"),
        ("🙂", "en"),
        ("\x00\x1b[31m", "en"),
    ],
)
def test_detect(text: str, language: str) -> None:
    assert detect(text) == language


def test_punctuation_and_kana_are_not_chinese() -> None:
    assert not any(map(is_chinese, "。，「」あア"))
