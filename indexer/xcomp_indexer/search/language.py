"""Detects whether a text is English, Chinese, or both, by counting characters."""

from typing import Literal

Language = Literal["en", "zh", "mixed"]


def is_chinese(character: str) -> bool:
    """Whether a character is a Chinese ideograph (CJK unified, extension A, compatibility, extensions B and later)."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U000323af"
    )


def detect(text: str) -> Language:
    """Return the language of a text; a text without letters counts as English.

    A Chinese character carries about as much meaning as an English word, so Latin letters are counted in words. A
    text is mixed if the smaller part is a third or more.
    """
    chinese = 0 if text.isascii() else sum(map(is_chinese, text))
    if not chinese:
        return "en"
    words = sum(part[0].isascii() and part[0].isalpha() for part in _latin(text).split())
    if 2 * words < chinese:
        return "zh"
    return "mixed" if 2 * chinese >= words else "en"


def _latin(text: str) -> str:
    return "".join(" " if is_chinese(character) else character for character in text)
