"""Names licences: a Creative Commons address becomes the name that is printed, and a name the words to filter by."""

import re

_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/"
    r"(?:licenses|publicdomain)/([a-z-]+)(?:/(\d\.\d))?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?:CC|Creative Commons)[ -]?(BY(?:-(?:NC|SA|ND))*|0|Zero)(?:[ -]v?(\d\.\d))?\b.*", re.IGNORECASE | re.DOTALL
)


def name_license(text: str) -> str:
    """Returns the name of a Creative Commons licence for its address: `CC BY-SA 4.0`; another text as it is."""
    match = _ADDRESS.fullmatch(text.strip())
    if not match:
        return text
    kind, version = match[1].upper(), match[2] or ""
    name = {"ZERO": "CC0", "MARK": "Public Domain Mark"}.get(kind, f"CC {kind}")
    return f"{name} {version}".strip()


def list_aliases(licence: str) -> list[str]:
    """Returns the words by which a licence is found beside its text: `cc-by`, `cc-by-4.0`."""
    match = _NAME.fullmatch(name_license(licence).strip())
    if not match:
        return []
    kind = match[1].lower()
    short = "cc0" if kind in ("0", "zero") else f"cc-{kind}"
    return [short, f"{short}-{match[2]}"] if match[2] else [short]
