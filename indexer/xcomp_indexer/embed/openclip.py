"""Models of open_clip: its released tags, repositories of the hub in its format, and folders of that format.

The library builds the network, the image transform and the tokenizer. This file gives it files that are on this machine
and refuses files that do not belong together.
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

from xcomp_indexer.embed import openclip_tokenizer
from xcomp_indexer.embed.clip import ClipEmbedder, Config, Precision, Windows, loading
from xcomp_indexer.embed.pooled_attention import BlockParts, PooledBlock, fast_last_block
from xcomp_indexer.embed.weights import cache, sources
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError

_REVISION = "1"  # of the recipe in this file; part of the digest
_STRIP = 16  # an image whose long side is this many times the short side is a strip
# Architectures and tokenizers that were also trained on Chinese: open_clip's README and model configurations.
_MULTILINGUAL = re.compile(r"siglip2|i18n|xlm-|mt5|nllb|worldwide", re.IGNORECASE)


def load(release: Release, *, precision: Precision = "auto", fast: bool = True) -> ClipEmbedder:
    """Loads a model of open_clip; `fast` computes only the pooled token in the last block.

    Raises:
        ModelError: files are missing, damaged, or do not fit together.
    """
    with loading(release.model):
        backend = OpenClipBackend(release, fast=fast)
    return ClipEmbedder(backend, precision=precision)


def list_companions(release: Release) -> Iterator[tuple[ModelSource, tuple[str, ...]]]:
    """Yields what else a model needs: its tokenizer, and the configuration of its text network.

    On ModelScope owners have other names, so a tokenizer is first looked for beside the weights. What was yielded must
    be fetched before the next item is asked for.
    """
    with loading(release.model):
        text_config = _section(_read_configuration(release)[0], "text_cfg")
    source, files = release.source, openclip_tokenizer.TOKENIZER_FILES
    if name := str(text_config.get("hf_tokenizer_name") or ""):
        if source.is_on_modelscope:
            yield source, files
        if not source.is_local and not (source.is_on_modelscope and any(map(source.has, files))):
            yield source.beside(name), files
    if name := str(text_config.get("hf_model_name") or ""):
        yield source.beside(name), ("config.json",)


class OpenClipBackend:
    """The two networks of a model of open_clip."""

    def __init__(self, release: Release, *, fast: bool = True) -> None:
        weights = release.find()[-1]
        self.name = release.resolve(cache.commit_of(weights))
        config, preprocess = _read_configuration(release)
        text_config = _section(config, "text_cfg")
        self._tokenizer = openclip_tokenizer.load(release.source, text_config)
        self._model = _build_network(release, weights, text_config, preprocess)
        self.network: torch.nn.Module = self._model
        self._pools_end_mark = _pools_end_mark(self._model)
        self.image_floats = 0
        if pools_class := _pools_class_token(visual := self._model.visual):
            last = visual.transformer.resblocks[-1]
            self.image_floats = len(visual.positional_embedding) * last.mlp.c_fc.out_features
        if fast and pools_class:
            fast_last_block(visual.transformer.resblocks, _parts_of)
        if fast and self._pools_end_mark:
            fast_last_block(self._model.transformer.resblocks, _parts_of)
        self._preprocess = PreprocessCfg(**_check_preprocessing(release.model, self.network, preprocess))
        self._transform: Callable[[Image.Image], Tensor] = image_transform_v2(self._preprocess, is_train=False)
        self.dimension = int(str(config["embed_dim"]))
        self.image_size = max(self._preprocess.input_size[1:])
        chinese = _MULTILINGUAL.search(f"{release.architecture} {text_config.get('hf_tokenizer_name')}")
        self.languages = frozenset({"en", "zh"} if chinese else {"en"})
        recipe = json.dumps([config, asdict(self._preprocess)], sort_keys=True)
        self.digest = cache.combine([_REVISION, recipe, self._tokenizer.digest, cache.sha256(weights)])

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB image as the model's input `[3, S, S]`."""
        return self._transform(_crop_strip(image) if self._preprocess.resize_mode == "shortest" else image)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts as the library does, in as many windows as they need."""
        return self._tokenizer.windows(texts)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Returns `[B, D]` of any length."""
        features: Tensor = self._model.encode_image(pixel_values)
        return features

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Returns `[W, D]` of any length."""
        features: Tensor = (
            _encode_without_padding(self._model, input_ids)
            if self._pools_end_mark
            else self._model.encode_text(input_ids)
        )
        return features


def _pools_class_token(visual: torch.nn.Module) -> bool:
    """Whether the features of an image are its first token, and no other output of the last block is used."""
    if type(visual) is not VisionTransformer or visual.attn_pool is not None or visual.output_tokens:
        return False
    return visual.pool_type == "tok" and type(visual.transformer.resblocks[-1]) is ResidualAttentionBlock


def _pools_end_mark(network: torch.nn.Module) -> bool:
    """Whether a text is pooled at its end mark, the largest id, and no token sees a later one: the design of CLIP."""
    if not (isinstance(network, open_clip.CLIP) and isinstance(network.positional_embedding, Tensor)):
        return False
    plain = type(network.transformer.resblocks[-1]) is ResidualAttentionBlock
    return plain and network.attn_mask is not None and network.text_pool_type == "argmax"


def _encode_without_padding(network: open_clip.CLIP, input_ids: Tensor) -> Tensor:
    """Encodes texts as `encode_text` of the library does, without the padding behind the longest text.

    The padding does not change a vector, and it is most of the cost of a query of a few words.
    """
    ends = input_ids.argmax(dim=-1)
    length = int(ends.max()) + 1
    mask = network.attn_mask[:length, :length]
    x = network.token_embedding(input_ids[:, :length]) + network.positional_embedding[:length]
    *blocks, last = network.transformer.resblocks
    for block in blocks:
        x = block(x, attn_mask=mask)
    if isinstance(last, PooledBlock):
        token = last.compute_token(x, ends, mask=mask[ends, None])  # [T, T] -> [B, 1, T]
    else:
        token = last(x, attn_mask=mask)[torch.arange(len(x), device=x.device), ends]
    features: Tensor = network.ln_final(token)
    if isinstance(network.text_projection, torch.nn.Linear):
        features = network.text_projection(features)
    elif network.text_projection is not None:
        features = features @ network.text_projection
    return features


def _parts_of(block: ResidualAttentionBlock) -> BlockParts:
    attn = block.attn

    def finish(token: Tensor, attended: Tensor) -> Tensor:
        token = token + block.ls_1(attn.out_proj(attended))
        output: Tensor = token + block.ls_2(block.mlp(block.ln_2(token)))
        return output

    return BlockParts(block.ln_1, attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), attn.num_heads, finish)


def _read_configuration(release: Release) -> tuple[Config, Config]:
    """Returns the configuration of the network and of its preprocessing."""
    if not release.tag:
        content = json.loads(release.source.find(sources.OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
        return _section(content, "model_cfg"), _section(content, "preprocess_cfg")
    config: Config = open_clip.get_model_config(release.architecture)
    preprocess: Config = open_clip.get_pretrained_cfg(release.architecture, release.tag)
    if bool(config.get("quick_gelu")) != bool(preprocess.get("quick_gelu")):  # the library only warns
        other = f"{release.architecture}-quickgelu"
        raise ModelError(
            f"{release.model} would run with another activation than in training: use open_clip:{other}/{release.tag}"
        )
    return config, preprocess


def _section(content: Config, name: str) -> Config:
    part = content.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"{name} is missing in its configuration")
    return part


def _build_network(release: Release, weights: Path, text_config: Config, preprocess: Config) -> open_clip.CLIP:
    """Builds the network with the weights that were found; the library never fetches others."""
    overrides: dict[str, object] = {}
    if tower := str(text_config.get("hf_model_name") or ""):  # only its configuration is read
        home = release.source.beside(tower).find("config.json").parent
        overrides["text_cfg"] = {**text_config, "hf_model_name": str(home), "hf_model_pretrained": False}
    if release.tag:
        name, source = release.architecture, str(weights)
        overrides["force_preprocess_cfg"] = dict(preprocess)
    else:
        name, source = f"local-dir:{weights.parent}", None
    return open_clip.create_model(name, pretrained=source, weights_only=True, **overrides)


def _check_preprocessing(model: str, network: torch.nn.Module, config: Config) -> dict[str, object]:
    """Returns the preprocessing that the library chose, if it is the one of the model's configuration."""
    chosen: dict[str, object] = open_clip.get_model_preprocess_cfg(network)
    wanted = merge_preprocess_dict({**chosen}, dict(config))
    for key in ("size", "mean", "std", "interpolation", "resize_mode"):
        if _normalize(wanted[key]) != _normalize(chosen[key]):
            raise ModelError(
                f"{model}: its preprocessing says {key} {wanted[key]}, its network takes {chosen[key]}:"
                f" the configuration belongs to another model"
            )
    return chosen


def _crop_strip(image: Image.Image) -> Image.Image:
    """Cuts off the ends of a strip: the library would enlarge all of it, to gigabytes, and then crop the middle."""
    width, height = image.size
    kept = _STRIP * min(image.size)
    if max(image.size) <= kept:
        return image
    left, top = max(0, (width - kept) // 2), max(0, (height - kept) // 2)
    return image.crop((left, top, width - left, height - top))


def _normalize(value: object) -> object:
    """Returns the same value for the same size: 224, [224, 224] and (224, 224)."""
    if isinstance(value, int):
        return [value, value]
    return list(value) if isinstance(value, (list, tuple)) else value
