"""Recognizes texts that a camera or a program wrote, which say nothing about the image.

They would be printed as captions: `OLYMPUS DIGITAL CAMERA`, `DCIM\\100MEDIA\\DJI_0042.JPG`, `IMG_3397.jpg`.
"""

import re
from pathlib import PurePath

_MAKERS = (
    "acer|agfa(?:photo)?|aiptek|apple|benq|canon|casio|concord|dji|epson|fuji(?:film)?|general imaging|gopro|google|"
    "hasselblad|hewlett[- ]packard|honor|hp|htc|huawei|jenoptik|jvc|kenox|kodak|konica|konica minolta|kyocera|leica|"
    "lg|medion|minolta|motorola|nikon|nokia|olympus|oneplus|oppo|panasonic|pentax|polaroid|praktica|realme|ricoh|"
    "rollei|samsung|samsung techwin|sanyo|sigma|sony|sony ericsson|toshiba|traveler|vivitar|vivo|xiaomi|yashica|zte"
)
_SHOT = "pictur[e]"
_SHOTS = f"{_SHOT}s"
_SUFFIX = (
    r"\.(?:jpe?g|jpe|jfif|png|webp|gif|tiff?|bmp|avif|hei[cf]|hif|dng|cr[23w]|nef|arw|orf|rw2|raf|raw|psd|mp4|mov)"
)
_PATTERNS = [
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"(?:{_MAKERS})(?:[\s,]+[\w./+-]+){{0,3}}?[\s,]+"
        rf"(?:digital(?: still)? camera|digital science|dsc|camera(?: {_SHOTS})?|csc|{_SHOTS})",
        rf"<?\s*(?:{_MAKERS}|digimax)\b[^<>]*>",
        r"<[^<>]*(?:digimax|kenox|samsung)[^<>]*>",
        rf"(?:digital(?: still)? camera|camera|default|x-default|untitled|unnamed|no ?title|image|{_SHOT}|photo)",
        rf"(?:exif[_ ]?jpe?g(?:[_ ]{_SHOT})?|exif|jfif|jpe?g|dcf \d\.\d|binary comment)",
        r"(?:charset ?= ?\"?(?:ascii|unicode|utf-8)\"?|ascii|unicode)",
        r"(?:created|made|edited|processed|file written|optimized) (?:with|by|using) [\w .®™-]+",
        rf"(?:acd systems digital imaging|photomania photo|screen ?shot|my great {_SHOT})",
        r"(?:[a-z]{0,12}_)?cuva",
        r"(?:oz|hw|r|fr|b)?(?:dav|nor|edf|cof|nfm|mde|btf|ptr|hdr|hdrpl|sdr|hdrb|ptfbty|fptbty|rptnb|bty|qrf)"
        r"(?:_(?:vivid|soft|hdrb|hdr|cuva))?",
        r"(?:.*[\\/])?dcim[\\/].*",
        r"(?:[a-z]:)?[\\/][^\s].*[\\/].*",
        rf".*\S{_SUFFIX}",
        r"_?(?:img|dsc[nf]?|dscn?|pict|pxl|mvimg|vid|dji|gopr|g[hp]\d\d|imag|cimg|sam|kif|wp|burst|mmexport|wechatimg|"
        r"signal|screenshot|scan|photo|image|p|pa|sdc|hpim|dcp|dcam|dcs|fxcam|cam)"
        r"[-_ ]?\d[\d_~() -]*\d(?:[-_]\w{1,12})?",
        r"\d{3,}[-_]\d{3,}(?:[-_]\d+)*(?:[-_]\w{1,8})?",
        r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{24,})",
    )
]
_CHINESE_NAME = re.compile(r"(?:微信图片|屏幕截图|截图|截屏|QQ图片)[-_ \d]*")
_PARAMETERS = re.compile(r"\bSteps: \d+, .*\bSampler:|^\s*\{.*\}\s*$", re.DOTALL)  # of a generator of images


def is_boilerplate(text: str, path: str = "", *, camera: str = "") -> bool:
    """Whether a text says nothing about the image at `path` that `camera` took."""
    line = " ".join(text.split())
    if not any(each.isalnum() for each in line) or _CHINESE_NAME.fullmatch(line) or _PARAMETERS.search(text[:2000]):
        return True
    return (
        line.casefold() == camera.casefold()
        or is_file_name(line, path)
        or (len(line) <= 300 and any(pattern.fullmatch(line) for pattern in _PATTERNS))
    )


def is_file_name(line: str, path: str) -> bool:
    """Whether a text is the name of the file, with or without its suffix; a plain word may be a title as well."""
    name = PurePath(path)
    text = line.casefold()
    return text == name.name.casefold() or (text == name.stem.casefold() and bool(re.search(r"[\d_]", text)))
