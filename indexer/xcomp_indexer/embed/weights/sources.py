"""What the names of released models stand for: a place and the files to be found there.

Reading a name is cheap on purpose: that a model is missing is known before any of the large libraries is imported. The
spellings are those of open_clip and of the hub.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from xcomp_indexer.embed.weights.cache import MODELSCOPE, ModelSource, folder_of, in_repository
from xcomp_protos.errors import InvalidRequest

# Where open_clip keeps the weights of its usual tags: `_PRETRAINED` in open_clip/pretrained.py, which is asked for all
# others at the price of importing it.
OPEN_CLIP_REPOSITORIES = {
    ("ViT-B-32", "laion2b_s34b_b79k"): "laion/CLIP-ViT-B-32-laion2B-s34B-b79K/",
    ("ViT-B-16", "laion2b_s34b_b88k"): "laion/CLIP-ViT-B-16-laion2B-s34B-b88K/",
    ("ViT-L-14", "laion2b_s32b_b82k"): "laion/CLIP-ViT-L-14-laion2B-s32B-b82K/",
    ("ViT-H-14", "laion2b_s32b_b79k"): "laion/CLIP-ViT-H-14-laion2B-s32B-b79K/",
    ("ViT-B-16-SigLIP2", "webli"): "timm/ViT-B-16-SigLIP2/",
}
OPEN_CLIP_CONFIG = "open_clip_config.json"
# In the order in which open_clip itself prefers them.
_OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_CHINESE_CLIP_FILES = ("config.json", "preprocessor_config.json", "vocab.txt")
_CHINESE_CLIP_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HUB = "hf-hub:"
_TAGGED = re.compile(r"(?P<architecture>[\w.-]+?)(?:/|::|__)(?P<tag>[\w.-]+)(?:@(?P<revision>[^@]+))?")


@dataclass(frozen=True)
class Release:
    """A released model.

    `architecture` and `tag` are set where open_clip itself knows the configuration.
    """

    model: str  # as it was spelled, family included
    place: ModelSource
    files: tuple[str, ...]  # all of these are needed
    weights: tuple[str, ...]  # and one of these
    architecture: str = ""
    tag: str = ""

    def find(self) -> list[Path]:
        """Returns the needed files, the weights last.

        Raises:
            ModelError: one is missing.
        """
        return [*(self.place.find(name) for name in self.files), self.place.find(*self.weights)]

    def resolved(self, commit: str) -> str:
        """Returns the name with the commit that was found, or as it was spelled for a folder."""
        if not commit:
            return self.model
        family = self.model.partition(":")[0]
        if self.tag:
            return f"{family}:{self.architecture}/{self.tag}@{commit}"
        prefix = MODELSCOPE if self.place.on_modelscope else _HUB if family == "open_clip" else ""
        return f"{family}:{prefix}{self.place.repository}@{commit}"


def open_clip(model: str) -> Release:
    """Reads `open_clip:…`: ARCHITECTURE/TAG, with `::` or `__` as well, a repository, or a whole path.

    A repository is `hf-hub:org/name` or `modelscope:org/name`.

    Raises:
        InvalidRequest: it is none of these, or open_clip knows no such tag.
    """
    name = model.partition(":")[2]
    place = folder_of(model, name)
    if place is None and name.startswith((_HUB, MODELSCOPE)):
        place = in_repository(model, name.removeprefix(_HUB))
    if place is not None:
        return Release(model, place, (OPEN_CLIP_CONFIG,), _OPEN_CLIP_WEIGHTS)
    said = _TAGGED.fullmatch(name)
    if not said:
        raise InvalidRequest(
            f"{model!r} names no model of open_clip: write open_clip:ViT-B-32/laion2b_s34b_b79k,"
            f" open_clip:hf-hub:org/name, open_clip:{MODELSCOPE}org/name or open_clip:/folder"
        )
    repository, _, file = _tagged(model, said["architecture"], said["tag"]).rpartition("/")
    place = in_repository(model, repository, revision=said["revision"] or "")
    weights = (
        (f"{file.rpartition('.')[0]}.safetensors", file) if file else (_OPEN_CLIP_WEIGHTS[0], _OPEN_CLIP_WEIGHTS[-1])
    )
    return Release(model, place, (), weights, said["architecture"], said["tag"])


def chinese_clip(model: str) -> Release:
    """Reads `chinese_clip:org/name[@revision]`, the same after `modelscope:`, or `chinese_clip:/folder`.

    Raises:
        InvalidRequest: it is none of these.
    """
    name = model.partition(":")[2]
    place = folder_of(model, name) or in_repository(model, name.removeprefix(_HUB))
    return Release(model, place, _CHINESE_CLIP_FILES, _CHINESE_CLIP_WEIGHTS)


def _tagged(model: str, architecture: str, tag: str) -> str:
    """Returns where the weights of a tag are: `org/name/`, or `org/name/file`."""
    known = OPEN_CLIP_REPOSITORIES.get((architecture, tag))
    if known:
        return known
    import open_clip  # type: ignore[import-untyped]  # it ships no types

    place = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")
    if not place:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise InvalidRequest(f"{model!r} is not on the hub: open_clip's tags of {architecture} are {tags}")
    return str(place)
