"""Cleans the texts of metadata, and decodes bytes whose charset is not declared.

Old programs write EXIF and IPTC in the charset of their system: Windows-1252, GB18030, Big5 or Shift-JIS. A text that
fits none of them is left out, because garbled letters would be printed.
"""

import re
from collections.abc import Callable, Sequence

MAX_TEXT = 4000  # characters of one value

# Control, direction, zero-width, filler and tag characters, variation selectors of no glyph, and lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)
# Joiners form emoji and the letters of Arabic and Indic scripts; elsewhere they are invisible.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_WIDE = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u2010-\u2026\u00b7]")
_FOREIGN_RUN = re.compile(r"[^\x00-\x7f]{4}|^[^\x00-\x7f]{3}$")


def clean_text(text: str) -> str:
    """Removes control, direction and invisible characters, and bounds the length."""
    return _STRAY_JOINER.sub("", _INVISIBLE.sub("", text)).strip()[:MAX_TEXT]


def choose_charset(values: Sequence[bytes]) -> str:
    """Returns the charset in which all values of one block are readable; empty if there is none.

    A single Chinese character in GBK is often valid UTF-8 too; together, the values of a block leave less doubt.
    """
    whole = b"\n".join(values)
    if _is_valid(whole, "utf-8"):
        return "utf-8"
    return next((charset for charset, is_common in _WIDE_CHARSETS if _is_written_in(whole, charset, is_common)), "")


def decode(value: bytes, charset: str = "") -> str:
    """Decodes a value by the charset of its block, else by its own bytes; empty if it is readable in no charset."""
    for name in (charset, "utf-8", choose_charset([value])):
        if name and _is_valid(value, name):
            return value.decode(name)
    text = value.decode("cp1252" if _is_valid(value, "cp1252") else "latin-1")
    return "" if _is_garbled(text) else text


def _is_valid(value: bytes, charset: str) -> bool:
    try:
        value.decode(charset)
    except UnicodeDecodeError:
        return False
    return True


def _is_written_in(value: bytes, charset: str, is_common: Callable[[bytes], bool]) -> bool:
    """Whether the bytes are everyday words of a charset: only wide characters beside ASCII, mostly common."""
    if not _is_valid(value, charset):
        return False
    wide = [each for each in value.decode(charset) if not each.isascii()]
    if len(wide) < 2 or not all(map(_WIDE.match, wide)) or not any(map(_HAN.match, wide)):
        return False
    return sum(is_common(each.encode(charset)) for each in wide) >= 0.7 * len(wide)


def _is_common_gb(pair: bytes) -> bool:
    """Whether it is a sign or one of the 3,755 common characters of GB 2312."""
    return len(pair) == 2 and (0xB0 <= pair[0] <= 0xD7 or pair[0] in (0xA1, 0xA3)) and pair[1] >= 0xA1


def _is_common_big5(pair: bytes) -> bool:
    """Whether it is a sign or one of the 5,401 common characters of Big5."""
    return len(pair) == 2 and (0xA4 <= pair[0] <= 0xC6 or pair[0] == 0xA1)


def _is_common_jis(pair: bytes) -> bool:
    """Whether it is a sign, kana or one of the common characters of JIS X 0208, level 1."""
    return len(pair) == 2 and (0x81 <= pair[0] <= 0x83 or 0x88 <= pair[0] <= 0x98)


_WIDE_CHARSETS = (("gb18030", _is_common_gb), ("big5", _is_common_big5), ("shift_jis", _is_common_jis))


def _is_garbled(text: str) -> bool:
    """Whether a text has a long run outside ASCII: a word of another script that was read as Latin letters."""
    return bool(_FOREIGN_RUN.search(text))
