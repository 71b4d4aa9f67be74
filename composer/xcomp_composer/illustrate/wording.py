"""Texts in the languages of articles, read from TOML files beside this one, which translators can edit."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import cast


def explain(key: str, language: str, **facts: str | float) -> str:
    """Returns the reason of this key in `reasons.toml`, one line, with the facts filled in."""
    reasons = cast("Mapping[str, Mapping[str, str]]", read_toml("reasons.toml"))
    return reasons["zh" if language == "zh" else "en"][key].format(**facts)


@cache
def read_toml(name: str) -> Mapping[str, object]:
    """Reads a file of this package."""
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
