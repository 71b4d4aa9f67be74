"""What a profile means to the indexer: the spaces of its repositories, as data.

A profile is one of the names below, or spells its spaces out: `en=open_clip:ViT-L-14/laion2b_s32b_b82k,zh=…`. A space
is a name and an embedder; it knows no engine. The composer has its own table of the same names.
"""

import re
from dataclasses import dataclass

from xcomp_protos.errors import InvalidRequest

DEFAULT_PROFILE = "clip"

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class SpaceSpec:
    """One embedding model with its named vector."""

    name: str
    model: str  # as `embed.load` takes it


_CLIP = (
    SpaceSpec("en", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
    SpaceSpec("zh", "chinese_clip:OFA-Sys/chinese-clip-vit-base-patch16"),
)

PROFILES: dict[str, tuple[SpaceSpec, ...]] = {
    "clip": _CLIP,
    "xcomposer": _CLIP,
    "lite": (SpaceSpec("lite", "lite:minilm"),),
    "color": (SpaceSpec("color", "color:hsv"),),  # needs no weights; the tests' own
}


_KNOWN = frozenset(spec.name for specs in PROFILES.values() for spec in specs)


def stage_of(space: str) -> str:
    """Names the stage of embedding in a space; those that users name share one, since a stage is no word of theirs."""
    return f"embed.{space}" if space in _KNOWN else "embed.other"


def spaces_of(profile: str) -> tuple[SpaceSpec, ...]:
    """Returns the spaces of a profile: by its name, or as `SPACE=MODEL,SPACE=MODEL…` spells them out.

    Raises:
        InvalidRequest: no such profile, or no such spelling.
    """
    if "=" in profile:
        return _spelled_out(profile)
    if profile not in PROFILES:
        raise InvalidRequest(
            f"profile {profile!r} is unknown: use clip, xcomposer or lite,"
            f" or models of your choice as en=open_clip:ViT-B-16/laion2b_s34b_b88k"
        )
    return PROFILES[profile]


def check_space_name(name: str) -> None:
    """Raises `InvalidRequest` unless a space can be named so."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"space {name!r} is no name: use up to 32 small letters, digits, '-' and '_', a letter first"
        )


def _spelled_out(profile: str) -> tuple[SpaceSpec, ...]:
    pairs = [each.partition("=") for each in profile.split(",")]
    specs = tuple(SpaceSpec(name.strip(), model.strip()) for name, _, model in pairs)
    if len({spec.name for spec in specs}) < len(specs):
        raise InvalidRequest(f"profile {profile!r} names a space twice")
    for spec in specs:
        if not _NAME.fullmatch(spec.name) or not spec.model:
            raise InvalidRequest(
                f"profile {profile!r} does not spell out spaces: write NAME=MODEL, and a comma between two,"
                f" a name in small letters, digits, '-' and '_'"
            )
    return specs
