"""Reads XMP, the XML metadata that photo programs write into an image.

A packet is untrusted: its size is bounded, the parser refuses entities and DTDs, and only texts are returned. Property
names are those of the XMP specification (parts 1 and 2) and of the IPTC Photo Metadata Standard.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

MAX_BYTES = 1024 * 1024  # a packet in a JPEG has up to 64 KB; other formats have no limit
MAX_ITEMS = 500  # of a list

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # in which a zero byte is not padding
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_ALTERNATIVES = {  # one text in several languages
    f"{_DC}title": "title",
    f"{_DC}description": "caption",
    f"{_DC}rights": "copyright",
    f"{_IPTC}AltTextAccessibility": "alt",
}
_TEXTS = {f"{_PHOTOSHOP}Credit": "credit", f"{_PHOTOSHOP}Source": "source", f"{_PHOTOSHOP}DateCreated": "date"}


def read_packet(packet: object) -> dict[str, str | list[str]]:
    """Returns the texts of a packet: title, caption, alt, copyright (also `_zh`), creator, credit, source, date, tags.

    Returns an empty dict for anything that is not a packet or is broken, hostile or too large.
    """
    if not isinstance(packet, bytes) or len(packet) > MAX_BYTES:
        return {}
    try:
        root = fromstring(packet if packet.startswith(_UTF16) else packet.rstrip(b"\0"), forbid_dtd=True)
    except (ParseError, ValueError, LookupError):  # of defusedxml; LookupError: an unknown encoding
        return {}
    known: dict[str, str | list[str]] = {}
    for description in root.iter(f"{_RDF}Description"):
        for name, value in description.attrib.items():  # simple properties may be written as attributes
            _add(known, _parse_simple(name, value))
        for child in description:
            _add(known, _parse_property(child))
    return known


def _add(known: dict[str, str | list[str]], values: dict[str, str | list[str]]) -> None:
    """Adds the values that are not empty and whose key is new."""
    for key, value in values.items():
        if value and key not in known:
            known[key] = value


def _parse_simple(name: str, text: str) -> dict[str, str | list[str]]:
    key = _TEXTS.get(name) or _ALTERNATIVES.get(name)
    return {key: text.strip()} if key else {}


def _parse_property(element: Element) -> dict[str, str | list[str]]:
    if element.tag in _ALTERNATIVES:
        return dict(_parse_alternatives(_ALTERNATIVES[element.tag], element))
    if element.tag == f"{_DC}subject":
        return {"tags": [*filter(None, map(_text, _items(element)))]}
    if element.tag == f"{_DC}creator":
        return {"creator": ", ".join(filter(None, map(_text, _items(element))))}
    return _parse_simple(element.tag, _text(element))


def _parse_alternatives(key: str, element: Element) -> Iterator[tuple[str, str]]:
    """Yields the default text under the key, and a Chinese one under the key with `_zh`."""
    texts = {str(item.get(_LANG, "")).lower(): _text(item) for item in _items(element)}
    default = texts.get("x-default") or texts.get("en") or next(iter(texts.values()), "")
    yield key, default or _text(element)
    chinese = next((text for language, text in texts.items() if language.partition("-")[0] == "zh"), "")
    if chinese != default:
        yield f"{key}_zh", chinese


def _items(element: Element) -> list[Element]:
    return list(element.iter(f"{_RDF}li"))[:MAX_ITEMS]


def _text(element: Element) -> str:
    return (element.text or "").strip()
