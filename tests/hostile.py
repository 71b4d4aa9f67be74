"""Texts that try to act: marks of prompts, markup, scripts, paths, control characters. `hostile.json` has them."""

import json
from pathlib import Path

HOSTILE: tuple[str, ...] = tuple(json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")))
HARMLESS = "a cup on the table"
