"""What the configuration of an open_clip model says, read without the library.

`weights/open_clip_tags.json` holds the library's own configurations (open_clip 3.3: `model_configs/`, and `_PRETRAINED`
of pretrained.py) of the released tags whose architecture is the plain CLIP. `python -m tests.open_clip_tags` writes it.
All other tags are looked up in the library.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from xcomp_indexer.embed.clip.embedder import Config
from xcomp_indexer.embed.weights import sources
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError

# The files that a saved tokenizer may have.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
# PreprocessCfg of open_clip/transform.py: what a configuration leaves out.
_PREPROCESS_DEFAULTS: Config = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
# CLIPVisionCfg and CLIPTextCfg of open_clip/model.py: what a configuration leaves out, of all that a graph reads.
_VISION_DEFAULTS: Config = {
    "layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224,
}  # fmt: skip
_TEXT_DEFAULTS: Config = {
    "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0,
}  # fmt: skip
_ROOT = frozenset({"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
_VOCABULARY = 49408  # of CLIP's own tokenizer


@dataclass(frozen=True)
class Configuration:
    """The configuration of a model: of its networks, and of its preprocessing."""

    network: Config
    preprocess: Config

    @property
    def vision(self) -> Config:
        """What it says of the image tower."""
        return read_section(self.network, "vision_cfg")

    @property
    def text(self) -> Config:
        """What it says of the text tower."""
        return read_section(self.network, "text_cfg")

    def has_graph(self) -> bool:
        """Whether `graph` builds its networks: the plain CLIP with the library's usual preprocessing."""
        preprocess = {**_PREPROCESS_DEFAULTS, **self.preprocess}
        usual = all(preprocess[key] == _PREPROCESS_DEFAULTS[key] for key in ("mode", "interpolation", "resize_mode"))
        known = set(self.network) <= _ROOT and set(self.vision) <= set(_VISION_DEFAULTS)
        return usual and known and set(self.text) <= set(_TEXT_DEFAULTS) and self._has_plain_sizes()

    def _has_plain_sizes(self) -> bool:
        plain = all(isinstance(self.vision.get(key, 1), int) for key in ("layers", "image_size", "patch_size"))
        return plain and self.text.get("vocab_size", _VOCABULARY) == _VOCABULARY

    def sizes(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Returns the numbers of the image tower and of the text tower; only for a model with a graph."""
        vision, text = ({**defaults, **said} for defaults, said in (
            (_VISION_DEFAULTS, self.vision), (_TEXT_DEFAULTS, self.text),
        ))  # fmt: skip
        return _read_numbers(vision), _read_numbers(text)

    def merge_preprocessing(self, image_size: int) -> dict[str, object]:
        """Returns the preprocessing as the library keeps it, and as digests have it.

        Raises:
            ModelError: it is that of another model.
            ValueError: it is damaged.
        """
        said = {key: value for key, value in self.preprocess.items() if value is not None}
        size = said.pop("size", image_size)
        if _normalize(size) != [image_size, image_size]:
            raise ModelError(
                f"its preprocessing says size {size}, its network takes {(image_size, image_size)}:"
                " the configuration belongs to another model"
            )
        merged = {key: said.get(key, default) for key, default in _PREPROCESS_DEFAULTS.items()}
        for key in ("mean", "std"):
            values = merged[key]
            if not isinstance(values, (list, tuple)) or len(values) != 3:
                raise ValueError(f"{key} of its preprocessing is not three numbers")
        return {"size": [image_size, image_size], **merged}


def read_configuration(release: Release) -> Configuration:
    """Returns the configuration of a model, from its own files or, for a tag, from the library's list."""
    if not release.tag:
        content = json.loads(release.source.find(sources.OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
        return Configuration(read_section(content, "model_cfg"), read_section(content, "preprocess_cfg"))
    network, preprocess = sources.find_tag(release.architecture, release.tag) or _ask_library(release)
    if bool(network.get("quick_gelu")) != bool(preprocess.get("quick_gelu")):  # the library only warns
        other = f"{release.architecture}-quickgelu"
        raise ModelError(
            f"{release.model} would run with another activation than in training: use open_clip:{other}/{release.tag}"
        )
    return Configuration(network, preprocess)


def read_section(content: Config, name: str) -> Config:
    """Returns a part of a configuration.

    Raises:
        ValueError: it is missing.
    """
    part = content.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{name} is missing in its configuration")
    return part


def _ask_library(release: Release) -> tuple[Config, Config]:
    import open_clip  # type: ignore[import-untyped]  # it ships no types

    return (
        open_clip.get_model_config(release.architecture),
        open_clip.get_pretrained_cfg(release.architecture, release.tag),
    )


def _read_numbers(said: Config) -> Mapping[str, float]:
    return {key: float(value) for key, value in said.items() if isinstance(value, (int, float))}


def _normalize(value: object) -> object:
    """Returns the same value for the same size: 224, [224, 224] and (224, 224)."""
    if isinstance(value, int):
        return [value, value]
    return list(value) if isinstance(value, (list, tuple)) else value
