"""Reads IPTC, the records of photo agencies: texts, tags and the date."""

from collections.abc import Mapping

from PIL import Image, IptcImagePlugin
from PIL.ImageFile import ImageFile

from xcomp_indexer.images import dates, text

_TEXTS = {
    (2, 5): "title",
    (2, 120): "caption",
    (2, 80): "creator",
    (2, 110): "credit",
    (2, 116): "copyright",
    (2, 115): "source",
}
_KEYWORDS = (2, 25)
_CHARSET = (1, 90)  # CodedCharacterSet: escape sequences of ISO 2022
_CHARSETS = {b"\x1b%G": "utf-8", b"\x1b%/G": "utf-8", b"\x1b%/I": "utf-8", b"\x1b.A": "cp1252", b"\x1b-A": "cp1252"}
_DATES = {"date": ((2, 55), (2, 60)), "digitized": ((2, 62), (2, 63))}
_MAX_TAGS = 500

_Block = Mapping[tuple[int, int], object]


def read_iptc(raw: Image.Image) -> dict[str, str | list[str]]:
    """Returns the texts of an image, with `date`, and `digitized` (see `metadata.py`); empty if broken."""
    try:
        block: _Block = (IptcImagePlugin.getiptcinfo(raw) if isinstance(raw, ImageFile) else None) or {}
    except Exception:  # noqa: BLE001  # Pillow raises many classes on a broken block
        return {}
    charset = _CHARSETS.get(next(iter(_list(block, _CHARSET)), b"").rstrip(b"\0 "), "")
    charset = charset or text.choose_charset([each for tag in (*_TEXTS, _KEYWORDS) for each in _list(block, tag)])
    known: dict[str, str | list[str]] = {}
    for tag, key in _TEXTS.items():
        known[key] = next(filter(None, (_decode(each, charset) for each in _list(block, tag))), "")
    known["tags"] = [*filter(None, (_decode(each, charset) for each in _list(block, _KEYWORDS)[:_MAX_TAGS]))]
    for key, (day, time) in _DATES.items():
        known[key] = _read_date(block, day, time)
    return {key: value for key, value in known.items() if value}


def _list(block: _Block, tag: tuple[int, int]) -> list[bytes]:
    value = block.get(tag) or []
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, bytes)]


def _decode(value: bytes, charset: str) -> str:
    return text.clean_text(text.decode(value.partition(b"\0")[0], charset))


def _read_date(block: _Block, day: tuple[int, int], time: tuple[int, int]) -> str:
    date, clock = (next(iter(_list(block, tag)), b"").decode("latin-1").strip("\0 ") for tag in (day, time))
    return dates.parse_date(f"{date} {clock}") or dates.parse_date(date) or ""
