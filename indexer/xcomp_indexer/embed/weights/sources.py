"""Reads names of released models: where the files lie, and which files are needed.

Reading a name is cheap, so that a missing model is reported before a large library is imported. The spellings are those
of open_clip and of the hub.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from xcomp_indexer.embed.weights.cache import HUB, MODELSCOPE, ModelSource, parse_folder, parse_repository
from xcomp_protos.errors import InvalidRequest, ModelError

# Where open_clip keeps the weights of its usual tags: `_PRETRAINED` in open_clip/pretrained.py. All other tags are
# looked up there, which costs the import of the library.
OPEN_CLIP_REPOSITORIES = {
    ("ViT-B-32", "laion2b_s34b_b79k"): "laion/CLIP-ViT-B-32-laion2B-s34B-b79K/",
    ("ViT-B-16", "laion2b_s34b_b88k"): "laion/CLIP-ViT-B-16-laion2B-s34B-b88K/",
    ("ViT-L-14", "laion2b_s32b_b82k"): "laion/CLIP-ViT-L-14-laion2B-s32B-b82K/",
    ("ViT-H-14", "laion2b_s32b_b79k"): "laion/CLIP-ViT-H-14-laion2B-s32B-b79K/",
    ("ViT-B-16-SigLIP2", "webli"): "timm/ViT-B-16-SigLIP2/",
}
# The configurations of tags with a graph, as the library has them; `python -m tests.open_clip_tags` writes the file.
TAGS = Path(__file__).with_name("open_clip_tags.json")
OPEN_CLIP_CONFIG = "open_clip_config.json"
# In the order in which open_clip itself prefers them.
_OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_TAGGED = re.compile(r"(?P<architecture>[\w.-]+?)(?:/|::|__)(?P<tag>[\w.-]+)(?:@(?P<revision>[^@]+))?")


@dataclass(frozen=True)
class Release:
    """A released model.

    `architecture` and `tag` are set where open_clip itself knows the configuration.
    """

    model: str  # as the user spelled it, family included
    source: ModelSource
    files: Sequence[str]  # all of these are needed
    weights: Sequence[str]  # one of these is needed
    architecture: str = ""
    tag: str = ""

    def find(self) -> list[Path]:
        """Returns the needed files, the weights last.

        Raises:
            ModelError: one is missing.
        """
        needed = [(name,) for name in self.files] + ([tuple(self.weights)] if self.weights else [])
        return [self.source.find(*names) for names in needed]

    def resolve(self, commit: str) -> str:
        """Returns the name with the commit of the files; without a commit, the name as it was spelled."""
        if not commit:
            return self.model
        family, _, name = self.model.partition("@")[0].partition(":")
        return f"{family}:{f'{self.architecture}/{self.tag}' if self.tag else name}@{commit}"


def without_files(model: str) -> Release:
    """Returns a release without files of its own: they come from installed packages, or there are none."""
    return Release(model, ModelSource(model), (), ())


def parse_release(model: str, *, files: Sequence[str], weights: Sequence[str]) -> Release:
    """Reads `FAMILY:` followed by org/name, hf-hub:org/name, modelscope:org/name (each with `@revision`) or /folder.

    Raises:
        InvalidRequest: the name has none of these forms.
    """
    name = model.partition(":")[2]
    return Release(model, parse_folder(model, name) or parse_repository(model, name), files, weights)


def parse_open_clip(model: str) -> Release:
    """Reads `open_clip:` followed by ARCHITECTURE/TAG, hf-hub:org/name, modelscope:org/name or /folder.

    Architecture and tag may also be separated by `::` or `__`.

    Raises:
        InvalidRequest: the name has none of these forms, or open_clip has no such tag.
    """
    name = model.partition(":")[2]
    if name.startswith((HUB, MODELSCOPE)) or parse_folder(model, name):
        return parse_release(model, files=(OPEN_CLIP_CONFIG,), weights=_OPEN_CLIP_WEIGHTS)
    tagged = _TAGGED.fullmatch(name)
    if not tagged:
        raise InvalidRequest(
            f"{model!r} names no model of open_clip: write open_clip:ViT-B-32/laion2b_s34b_b79k,"
            f" open_clip:hf-hub:org/name, open_clip:{MODELSCOPE}org/name or open_clip:/folder"
        )
    repository, _, file = _locate_tag(model, tagged["architecture"], tagged["tag"]).rpartition("/")
    source = parse_repository(model, repository, revision=tagged["revision"] or "")
    weights = (
        (f"{file.rpartition('.')[0]}.safetensors", file) if file else (_OPEN_CLIP_WEIGHTS[0], _OPEN_CLIP_WEIGHTS[-1])
    )
    return Release(model, source, (), weights, tagged["architecture"], tagged["tag"])


def find_tag(architecture: str, tag: str) -> tuple[Mapping[str, object], Mapping[str, object]] | None:
    """Returns the configurations of network and preprocessing of a released tag, if this package has them."""
    listed = _read_tags()
    preprocess = listed["tags"].get(f"{architecture}/{tag}")
    return (listed["networks"][architecture], preprocess) if preprocess else None


def find_repository(architecture: str, tag: str) -> str:
    """Returns where the weights of a released tag are, or an empty text if this package does not say."""
    return str((find_tag(architecture, tag) or ({}, {}))[1].get("hf_hub", ""))


@cache
def _read_tags() -> Mapping[str, Mapping[str, Mapping[str, object]]]:
    listed: Mapping[str, Mapping[str, Mapping[str, object]]] = json.loads(TAGS.read_text(encoding="utf-8"))
    return listed


def _locate_tag(model: str, architecture: str, tag: str) -> str:
    """Returns where the weights of a tag are: `org/name/`, or `org/name/file`."""
    known = OPEN_CLIP_REPOSITORIES.get((architecture, tag)) or find_repository(architecture, tag)
    if known:
        return known
    if find_spec("open_clip") is None:
        raise ModelError(
            f"{model!r} is a tag that only the library open_clip knows: install it with pip install 'xcomp[gpu]'"
        )
    import open_clip  # type: ignore[import-untyped]  # it ships no types

    location = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")
    if not location:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise InvalidRequest(f"{model!r} is not on the hub: open_clip's tags of {architecture} are {tags}")
    return str(location)
