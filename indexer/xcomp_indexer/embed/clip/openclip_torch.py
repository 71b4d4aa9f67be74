"""Models of open_clip through the library and torch.

The library builds the network, the image transform and the tokenizer. This file gives it files that are on this machine
and refuses files that do not belong together.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
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

from xcomp_indexer.embed.clip import openclip_tokenizer
from xcomp_indexer.embed.clip.embedder import Config, Precision
from xcomp_indexer.embed.clip.openclip import compute_digest, list_languages
from xcomp_indexer.embed.clip.openclip_config import Configuration
from xcomp_indexer.embed.clip.pixels import crop_strip
from xcomp_indexer.embed.clip.pooled_attention import BlockParts, PooledBlock, fast_last_block
from xcomp_indexer.embed.clip.torch_networks import TorchDevice, TorchNetworks, reading_weights
from xcomp_indexer.embed.clip.windows import Windows
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError


class OpenClipTorch:
    """The two networks of a model of open_clip."""

    def __init__(self, release: Release, configuration: Configuration, *, fast: bool = True) -> None:
        weights = release.find()[-1]
        self.name = release.resolve(cache.commit_of(weights))
        self._tokenizer = openclip_tokenizer.load(release.source, configuration.text)
        self._model = _build_network(release, weights, configuration)
        self.network: torch.nn.Module = self._model
        self._pools_end_mark = _pools_end_mark(self._model)
        self._device = TorchDevice(self.network, image_floats=_prepare_blocks(self._model, fast=fast))
        self.batch_size = self.texts_at_once = self._device.batch_size
        self.images_at_once, self.has_fast_bf16 = self._device.images_at_once, self._device.has_fast_bf16
        self.device = f"torch {self._device.type}"
        preprocess = _check_preprocessing(release.model, self.network, configuration.preprocess)
        self._preprocess = PreprocessCfg(**preprocess)
        self._transform: Callable[[Image.Image], Tensor] = image_transform_v2(self._preprocess, is_train=False)
        self.dimension = int(str(configuration.network["embed_dim"]))
        self.image_size = max(self._preprocess.input_size[1:])
        self.languages = list_languages(release, configuration)
        self.digest = compute_digest(configuration, asdict(self._preprocess), self._tokenizer.digest, weights)

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB image as the model's input `[3, S, S]`."""
        return self._transform(crop_strip(image) if self._preprocess.resize_mode == "shortest" else image)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts as the library does, in as many windows as they need."""
        return self._tokenizer.windows(texts)

    def compile(self, precision: Precision) -> TorchNetworks:
        """Returns the networks, ready to run."""
        text = partial(_encode_without_padding, self._model) if self._pools_end_mark else self._model.encode_text
        return TorchNetworks(self._device, precision, image=self._model.encode_image, text=text)


def _prepare_blocks(model: open_clip.CLIP, *, fast: bool) -> int:
    """Lets the last blocks compute the pooled token alone; returns the numbers in the largest tensor of an image."""
    image_floats = 0
    if pools_class := _pools_class_token(visual := model.visual):
        last = visual.transformer.resblocks[-1]
        image_floats = len(visual.positional_embedding) * last.mlp.c_fc.out_features
    if fast and pools_class:
        fast_last_block(visual.transformer.resblocks, _parts_of)
    if fast and _pools_end_mark(model):
        fast_last_block(model.transformer.resblocks, _parts_of)
    return image_floats


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


@reading_weights()
def _build_network(release: Release, weights: Path, configuration: Configuration) -> open_clip.CLIP:
    """Builds the network with the weights that were found; the library never fetches others."""
    overrides: dict[str, object] = {}
    text_config = configuration.text
    if tower := str(text_config.get("hf_model_name") or ""):  # only its configuration is read
        home = release.source.beside(tower).find("config.json").parent
        overrides["text_cfg"] = {**text_config, "hf_model_name": str(home), "hf_model_pretrained": False}
    if release.tag:
        name, source = release.architecture, str(weights)
        overrides["force_preprocess_cfg"] = dict(configuration.preprocess)
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


def _normalize(value: object) -> object:
    """Returns the same value for the same size: 224, [224, 224] and (224, 224)."""
    if isinstance(value, int):
        return [value, value]
    return list(value) if isinstance(value, (list, tuple)) else value
