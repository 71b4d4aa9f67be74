"""The registry of profiles: the spaces that a repository of each profile gets. Does not depend on any store.

A profile is one of the names below, or a list of its spaces: `en=open_clip:ViT-L-14/laion2b_s32b_b82k,zh=…`. A space is
a name and an embedder. The composer has its own table of the same names.
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

_HIDDEN = frozenset(("color",))  # profiles that no message offers
_SPACES = frozenset(spec.name for specs in PROFILES.values() for spec in specs)


def stage_of(space: str) -> str:
    """Return the name of the stage that embeds in a space; spaces that users name share one, as metrics need."""
    return f"embed.{space}" if space in _SPACES else "embed.other"


def spaces_of(profile: str) -> tuple[SpaceSpec, ...]:
    """Return the spaces of a profile, given by its name or as `SPACE=MODEL,SPACE=MODEL…`.

    Raises:
        InvalidRequest: there is no such profile, or the list cannot be read.
    """
    if "=" in profile:
        return _parse_specs(profile)
    if profile not in PROFILES:
        names = ", ".join(name for name in PROFILES if name not in _HIDDEN)
        raise InvalidRequest(
            f"profile {profile!r} is unknown: use {names},"
            f" or models of your choice as en=open_clip:ViT-B-16/laion2b_s34b_b88k"
        )
    return PROFILES[profile]


def check_space_name(name: str) -> None:
    """Raise `InvalidRequest` unless a space can have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"space {name!r} is not a valid name: use up to 32 small letters, digits, '-' and '_', a letter first"
        )


def _parse_specs(profile: str) -> tuple[SpaceSpec, ...]:
    pairs = [each.partition("=") for each in profile.split(",")]
    specs = tuple(SpaceSpec(name.strip(), model.strip()) for name, _, model in pairs)
    if len({spec.name for spec in specs}) < len(specs):
        raise InvalidRequest(f"profile {profile!r} names a space twice")
    for spec in specs:
        if not _NAME.fullmatch(spec.name) or not spec.model:
            raise InvalidRequest(
                f"profile {profile!r} is not a list of spaces: write NAME=MODEL, and a comma between two,"
                f" a name in small letters, digits, '-' and '_'"
            )
    return specs
