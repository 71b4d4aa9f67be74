"""Reads XMP, the XML metadata that photo programs write into an image or beside it.

A packet is untrusted: its size is bounded, the parser refuses entities and DTDs, and only texts are returned. Property
names are those of the XMP specification (parts 1 and 2), of the IPTC Photo Metadata Standard and of Creative Commons.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring
from PIL import Image

from xcomp_indexer.images import licenses, text

MAX_BYTES = 1024 * 1024  # a packet in a JPEG has up to 64 KB; other formats have no limit
MAX_ITEMS = 500  # of a list
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # in which a zero byte is not padding

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_RIGHTS = "{http://ns.adobe.com/xap/1.0/rights/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_ALTERNATIVES = {  # one text in several languages
    f"{_DC}title": "title",
    f"{_DC}description": "caption",
    f"{_DC}rights": "copyright",
    f"{_IPTC}AltTextAccessibility": "alt",
    f"{_RIGHTS}UsageTerms": "terms",
}
_TEXTS = {
    f"{_PHOTOSHOP}Credit": "credit",
    f"{_PHOTOSHOP}Source": "source",
    f"{_PHOTOSHOP}DateCreated": "date",
    f"{_EXIF}DateTimeOriginal": "taken",
    f"{_EXIF}DateTimeDigitized": "digitized",
    f"{_XMP}CreateDate": "digitized",
    f"{_RIGHTS}WebStatement": "statement",
    "{http://creativecommons.org/ns#}license": "license",
    "{http://web.resource.org/cc/}license": "license",
}
_PACKET = re.compile(rb"<(x:x[ma]pmeta|rdf:RDF)[\s>]")
_DECLARATION = re.compile(rb"<!(?!--|\[CDATA\[)")
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)")
_GIF_BLOCK = b"XMP DataXMP"

_Texts = dict[str, str | list[str]]


def find_packet(raw: Image.Image) -> object:
    """Returns the packet of an opened image; Pillow does not read that of a GIF."""
    packet = raw.info.get("xmp")
    file = getattr(raw, "_fp", None) or getattr(raw, "fp", None)
    if packet or raw.format != "GIF" or not isinstance(file, BytesIO):
        return packet
    view = file.getvalue()
    start = view.find(_GIF_BLOCK)
    return view[start + len(_GIF_BLOCK) :][:MAX_BYTES] if start >= 0 else None


def read_packet(packet: object) -> _Texts:
    """Returns the texts of a packet, by the keys that `metadata.py` describes.

    Returns an empty dict for anything that is not a packet or is hostile or too large. Stray bytes are passed over.
    """
    if not isinstance(packet, bytes) or len(packet) > MAX_BYTES:
        return {}
    root = _parse(packet)
    known: _Texts = {}
    for description in root.iter(f"{_RDF}Description") if root is not None else ():
        for name, value in description.attrib.items():  # simple properties may be written as attributes
            _add(known, _parse_simple(name, value))
        for child in description:
            _add(known, _parse_property(child))
    return _settle(known)


def _parse(packet: bytes) -> Element | None:
    """Parses a packet, if need be without what is around it and with its stray characters removed."""
    content = packet if packet.startswith(UTF16) else packet.strip(b"\0")
    try:
        return fromstring(content, forbid_dtd=True)
    except ParseError:
        pass
    except (ValueError, LookupError):  # of defusedxml; LookupError: an unknown encoding
        return None
    try:
        repaired = _repair(content)
        return fromstring(repaired, forbid_dtd=True) if repaired else None
    except (ParseError, ValueError, LookupError):
        return None


def _repair(content: bytes) -> str:
    """Returns a packet without what is around it and with its stray characters removed; empty if there is none."""
    if content.startswith(UTF16):
        content = content.decode("utf-16", "replace").encode()
    found = _PACKET.search(content)
    closing = b"</%s>" % found[1] if found else b""
    end = content.find(closing) if found else -1
    if not found or end < found.end() or _DECLARATION.search(content[:end]):
        return ""  # declarations are refused, not cut away
    return _AMPERSAND.sub("&amp;", _BAD.sub("", text.decode(content[found.start() : end + len(closing)])))


def _settle(known: _Texts) -> _Texts:
    taken, terms, statement = (known.pop(key, "") for key in ("taken", "terms", "statement"))
    known.pop("terms_zh", None)
    if taken and "date" not in known:
        known["date"] = taken
    licence = str(known.get("license") or terms or statement)
    if licence:
        known["license"] = licenses.name_license(licence)
    return known


def _add(known: _Texts, values: _Texts) -> None:
    """Adds the values that are not empty and whose key is new."""
    for key, value in values.items():
        if value and key not in known:
            known[key] = value


def _parse_simple(name: str, content: str) -> _Texts:
    key = _TEXTS.get(name) or _ALTERNATIVES.get(name)
    return {key: content.strip()} if key else {}


def _parse_property(element: Element) -> _Texts:
    if element.tag in _ALTERNATIVES:
        return dict(_parse_alternatives(_ALTERNATIVES[element.tag], element))
    if element.tag == f"{_DC}subject":
        return {"tags": [*filter(None, map(_text, _items(element)))]}
    if element.tag == f"{_DC}creator":
        return {"creator": ", ".join(filter(None, map(_text, _items(element)))) or _text(element)}
    return _parse_simple(element.tag, _text(element) or element.get(f"{_RDF}resource", ""))


def _parse_alternatives(key: str, element: Element) -> Iterator[tuple[str, str]]:
    """Yields the default text under the key, and a Chinese one under the key with `_zh`."""
    texts = {str(item.get(_LANG, "")).lower(): _text(item) for item in _items(element)}
    default = texts.get("x-default") or texts.get("en") or next(iter(texts.values()), "")
    yield key, default or _text(element)
    chinese = next((each for language, each in texts.items() if language.partition("-")[0] == "zh"), "")
    if chinese != default:
        yield f"{key}_zh", chinese


def _items(element: Element) -> list[Element]:
    return list(islice(element.iter(f"{_RDF}li"), MAX_ITEMS))


def _text(element: Element) -> str:
    return (element.text or "").strip()
