"""What a profile means to the indexer: the spaces of its repositories, as data.

A space is a name and an embedder; it knows no engine. The composer has its own table of the same names.
"""

from dataclasses import dataclass

from xcomp_protos.transport.errors import InvalidRequest

DEFAULT_PROFILE = "clip"


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


def spaces_of(profile: str) -> tuple[SpaceSpec, ...]:
    """Returns the spaces of a profile.

    Raises:
        InvalidRequest: no such profile.
    """
    if profile not in PROFILES:
        raise InvalidRequest(f"profile {profile!r} is unknown: use clip, xcomposer or lite")
    return PROFILES[profile]
