"""Models of open_clip: its released tags, repositories of the hub in its format, and folders of that format.

The library itself builds the network, the picture transform and the tokenizer; this file gives it files that are here
and refuses those that do not belong together.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import open_clip  # type: ignore[import-untyped]  # it ships no types
import torch
from open_clip.transform import (  # type: ignore[import-untyped]
    PreprocessCfg,
    image_transform_v2,
    merge_preprocess_dict,
)
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer  # type: ignore[import-untyped]
from PIL import Image
from torch import Tensor

from xcomp_indexer.embed import openclip_tokenizer, pooled_attention
from xcomp_indexer.embed.clip import ClipEmbedder, Config, Precision, Windows, reading
from xcomp_indexer.embed.weights import cache, sources
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError

_REVISION = "1"  # of the recipe in this file; part of the digest
_STRIP = 16  # a picture this many times as long as wide is a strip
# Architectures and tokenizers that were trained on Chinese as well: open_clip's README and model configurations.
_MULTILINGUAL = re.compile(r"siglip2|i18n|xlm-|mt5|nllb|worldwide", re.IGNORECASE)


class OpenClipBackend:
    """The two networks of a model of open_clip."""

    def __init__(self, release: Release) -> None:
        weights = release.find()[-1]
        self.name = release.resolved(cache.commit_of(weights))
        config, preprocess = _configuration(release)
        text_config = _part(config, "text_cfg")
        self._tokenizer = openclip_tokenizer.load(release.place, text_config)
        self._model = _network(release, weights, text_config, preprocess)
        self.network: torch.nn.Module = self._model
        self._ends_at_mark = _ends_at_mark(self._model)
        self.image_floats = 0
        if _begins_with_class(visual := self._model.visual):
            blocks = visual.transformer.resblocks
            self.image_floats = len(visual.positional_embedding) * blocks[-1].mlp.c_fc.out_features
            blocks[-1] = _ClassBlock(blocks[-1])
        self._preprocess = PreprocessCfg(**_checked(release.model, self.network, preprocess))
        self._transform: Callable[[Image.Image], Tensor] = image_transform_v2(self._preprocess, is_train=False)
        self.dimension = int(str(config["embed_dim"]))
        self.image_size = max(self._preprocess.input_size[1:])
        chinese = _MULTILINGUAL.search(f"{release.architecture} {text_config.get('hf_tokenizer_name')}")
        self.languages = frozenset({"en", "zh"} if chinese else {"en"})
        recipe = json.dumps([config, asdict(self._preprocess)], sort_keys=True)
        self.digest = cache.combined([_REVISION, recipe, self._tokenizer.digest, cache.sha256(weights)])

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB picture as the model's input `[3, S, S]`."""
        return self._transform(_middle(image) if self._preprocess.resize_mode == "shortest" else image)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts as the library does, in as many windows as they need."""
        return self._tokenizer.windows(texts)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Returns `[B, D]` of any length."""
        features: Tensor = self._model.encode_image(pixel_values)
        return features

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Returns `[W, D]` of any length."""
        features: Tensor = _short(self._model, input_ids) if self._ends_at_mark else self._model.encode_text(input_ids)
        return features


def _begins_with_class(visual: torch.nn.Module) -> bool:
    """Whether a picture is what its first token says, and nothing else that leaves the last block is used."""
    if type(visual) is not VisionTransformer or visual.attn_pool is not None or visual.output_tokens:
        return False
    return visual.pool_type == "tok" and type(visual.transformer.resblocks[-1]) is ResidualAttentionBlock


class _ClassBlock(torch.nn.Module):
    """A last block that computes the first token only, in the place of one that computes all."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:  # [B, T, D] -> [B, 1, D]
        first = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return _token_of(self.block, x, first, attn_mask=attn_mask)[:, None]


def _ends_at_mark(network: torch.nn.Module) -> bool:
    """Whether a text is what its end mark, the largest id, says, and no token sees a later one: CLIP's own design."""
    if not (isinstance(network, open_clip.CLIP) and isinstance(network.positional_embedding, Tensor)):
        return False
    plain = type(network.transformer.resblocks[-1]) is ResidualAttentionBlock
    return plain and network.attn_mask is not None and network.text_pool_type == "argmax"


def _short(network: open_clip.CLIP, input_ids: Tensor) -> Tensor:
    """Does what `encode_text` of the library does, without the padding behind the longest text.

    Nothing before sees it, and it is most of what a query of a few words costs.
    """
    ends = input_ids.argmax(dim=-1)
    length = int(ends.max()) + 1
    mask = network.attn_mask[:length, :length]
    x = network.token_embedding(input_ids[:, :length]) + network.positional_embedding[:length]
    *blocks, last = network.transformer.resblocks
    for block in blocks:
        x = block(x, attn_mask=mask)
    features: Tensor = network.ln_final(_token_of(last, x, ends, attn_mask=mask))
    if isinstance(network.text_projection, torch.nn.Linear):
        features = network.text_projection(features)
    elif network.text_projection is not None:
        features = features @ network.text_projection
    return features


def _token_of(block: ResidualAttentionBlock, x: Tensor, at: Tensor, *, attn_mask: Tensor | None) -> Tensor:
    """Does what a block of the library does, for the token at one place of each row: `[B, T, D]` to `[B, D]`."""
    rows = torch.arange(len(x), device=x.device)
    tokens, attn = block.ln_1(x), block.attn
    seen = pooled_attention.attend(
        tokens[rows, at],
        tokens,
        weights=attn.in_proj_weight.chunk(3),
        biases=attn.in_proj_bias.chunk(3),
        heads=attn.num_heads,
        mask=None if attn_mask is None else attn_mask[at, None],  # [T, T] -> [B, 1, T]
    )
    token = x[rows, at] + block.ls_1(attn.out_proj(seen))
    said: Tensor = token + block.ls_2(block.mlp(block.ln_2(token)))
    return said


def load(release: Release, *, precision: Precision = "auto") -> ClipEmbedder:
    """Loads a model of open_clip.

    Raises:
        ModelError: files are missing, damaged, or do not fit together.
    """
    with reading(release.model):
        towers = OpenClipBackend(release)
    return ClipEmbedder(towers, precision=precision)


def companions(release: Release) -> Iterator[tuple[ModelSource, tuple[str, ...]]]:
    """Yields what else the model needs: its tokenizer, the configuration of its text network.

    On ModelScope owners have other names, so a tokenizer is first looked for beside the weights; what was yielded is to
    be fetched before the next is asked for.
    """
    with reading(release.model):
        text_config = _part(_configuration(release)[0], "text_cfg")
    place, files = release.place, openclip_tokenizer.TOKENIZER_FILES
    if name := str(text_config.get("hf_tokenizer_name") or ""):
        if place.on_modelscope:
            yield place, files
        if not place.folder and not (place.on_modelscope and any(map(place.has, files))):
            yield place.beside(name), files
    if name := str(text_config.get("hf_model_name") or ""):
        yield place.beside(name), ("config.json",)


def _configuration(release: Release) -> tuple[Config, Config]:
    """Returns the configuration of the network and of its preprocessing."""
    if not release.tag:
        content = json.loads(release.place.find(sources.OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
        return _part(content, "model_cfg"), _part(content, "preprocess_cfg")
    config: Config = open_clip.get_model_config(release.architecture)
    preprocess: Config = open_clip.get_pretrained_cfg(release.architecture, release.tag)
    if bool(config.get("quick_gelu")) != bool(preprocess.get("quick_gelu")):  # the library only warns
        other = f"{release.architecture}-quickgelu"
        raise ModelError(
            f"{release.model} would run with another activation than it was trained with:"
            f" use open_clip:{other}/{release.tag}"
        )
    return config, preprocess


def _part(content: Config, name: str) -> Config:
    part = content.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{name} is missing in its configuration")
    return part


def _network(release: Release, weights: Path, text_config: Config, preprocess: Config) -> open_clip.CLIP:
    """Builds the network with the weights that were found; never asks for any others."""
    overrides: dict[str, object] = {}
    if tower := str(text_config.get("hf_model_name") or ""):  # only its configuration is read; the weights are ours
        home = release.place.beside(tower).find("config.json").parent
        overrides["text_cfg"] = {**text_config, "hf_model_name": str(home), "hf_model_pretrained": False}
    if release.tag:
        name, source = release.architecture, str(weights)
        overrides["force_preprocess_cfg"] = dict(preprocess)
    else:
        name, source = f"local-dir:{weights.parent}", None
    return open_clip.create_model(name, pretrained=source, weights_only=True, **overrides)


def _checked(model: str, network: torch.nn.Module, said: Config) -> dict[str, object]:
    """Returns the preprocessing that the library settled on, if that is what the model's configuration says."""
    settled: dict[str, object] = open_clip.get_model_preprocess_cfg(network)
    wanted = merge_preprocess_dict({**settled}, dict(said))
    for key in ("size", "mean", "std", "interpolation", "resize_mode"):
        if _plain(wanted[key]) != _plain(settled[key]):
            raise ModelError(
                f"{model}: its preprocessing says {key} {wanted[key]}, its network takes {settled[key]}:"
                f" the configuration is of another model"
            )
    return settled


def _middle(image: Image.Image) -> Image.Image:
    """Cuts off the ends of a strip that the library would enlarge to gigabytes, only to crop its middle afterwards."""
    width, height = image.size
    kept = _STRIP * min(image.size)
    if max(image.size) <= kept:
        return image
    left, top = max(0, (width - kept) // 2), max(0, (height - kept) // 2)
    return image.crop((left, top, width - left, height - top))


def _plain(value: object) -> object:
    """224, [224, 224] and (224, 224) are the same size."""
    if isinstance(value, int):
        return [value, value]
    return list(value) if isinstance(value, (list, tuple)) else value
