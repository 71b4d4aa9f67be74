"""Chinese-CLIP (arXiv:2211.01335) through transformers and torch."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import ChineseCLIPModel
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPTextLayer, ChineseCLIPVisionLayer
from transformers.utils import logging as transformers_logging

from xcomp_indexer.embed.clip.chinese_clip import PADDING, Files
from xcomp_indexer.embed.clip.embedder import Precision
from xcomp_indexer.embed.clip.pixels import squash
from xcomp_indexer.embed.clip.pooled_attention import BlockParts, fast_last_block
from xcomp_indexer.embed.clip.torch_networks import TorchDevice, TorchNetworks, reading_weights
from xcomp_indexer.embed.clip.windows import Windows
from xcomp_protos.errors import ModelError


class ChineseClipTorch:
    """The two networks of a Chinese-CLIP; `fast` computes only the pooled token in the last block."""

    languages = frozenset({"zh"})

    def __init__(self, files: Files, *, fast: bool = True) -> None:
        self._files, self.name, self.digest = files, files.name, files.digest
        self.dimension, self.image_size = files.dimension, files.image_size
        self._model = _load_network(files.release.model, files.weights)
        if fast:
            fast_last_block(self._model.vision_model.encoder.layers, _image_parts)
            fast_last_block(self._model.text_model.encoder.layer, _text_parts)
        self.network: torch.nn.Module = self._model
        tokens = self._model.vision_model.embeddings.num_positions
        self.image_floats = tokens * int(str(files.vision["intermediate_size"]))
        self._device = TorchDevice(self.network, image_floats=self.image_floats)
        self.batch_size = self.texts_at_once = self._device.batch_size
        self.images_at_once, self.has_fast_bf16 = self._device.images_at_once, self._device.has_fast_bf16
        self.device = f"torch {self._device.type}"

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB image as the model's input `[3, S, S]`."""
        squashed = squash(image, self.image_size).astype(np.float32)
        values = (squashed / 255 - self._files.normalisation.mean) / self._files.normalisation.std
        return torch.from_numpy(values).permute(2, 0, 1)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of 52 tokens, padded to the longest."""
        return self._files.windows(texts)

    def compile(self, precision: Precision) -> TorchNetworks:
        """Returns the networks, ready to run."""
        return TorchNetworks(self._device, precision, image=self._image_features, text=self._text_features)

    def _image_features(self, pixel_values: Tensor) -> Tensor:
        return _features(self._model.get_image_features(pixel_values=pixel_values))

    def _text_features(self, input_ids: Tensor) -> Tensor:
        attention_mask = (input_ids != PADDING).long()
        return _features(self._model.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


@reading_weights()
def _load_network(model: str, weights: Path) -> ChineseCLIPModel:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    loaded: tuple[ChineseCLIPModel, Mapping[str, Collection[str]]] = ChineseCLIPModel.from_pretrained(  # type: ignore[assignment]  # a pair with output_loading_info
        str(weights.parent),
        local_files_only=True,
        use_safetensors=weights.suffix == ".safetensors",
        weights_only=True,
        dtype=torch.float32,
        attn_implementation="sdpa",  # `PooledBlock` takes its masks
        output_loading_info=True,
    )
    network, report = loaded
    missing = sorted(report["missing_keys"])  # the library would leave their weights random
    if missing:
        raise ModelError(f"{model}: {weights} lacks {len(missing)} tensors of the network, {missing[0]} for one")
    return network


def _image_parts(layer: ChineseCLIPVisionLayer) -> BlockParts:
    attn = layer.self_attn

    def finish(token: Tensor, attended: Tensor) -> Tensor:
        token = token + attn.out_proj(attended)
        output: Tensor = token + layer.mlp(layer.layer_norm2(token))
        return output

    projections = (attn.q_proj, attn.k_proj, attn.v_proj)
    return BlockParts(layer.layer_norm1, *_weights_of(projections), attn.num_heads, finish)


def _text_parts(layer: ChineseCLIPTextLayer) -> BlockParts:
    attn = layer.attention.self

    def finish(token: Tensor, attended: Tensor) -> Tensor:
        token = layer.attention.output(attended, token)
        output: Tensor = layer.output(layer.intermediate(token), token)
        return output

    projections = (attn.query, attn.key, attn.value)
    return BlockParts(lambda tokens: tokens, *_weights_of(projections), attn.num_attention_heads, finish)


def _weights_of(projections: Sequence[torch.nn.Linear]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    return [each.weight for each in projections], [each.bias for each in projections]


def _features(output: object) -> Tensor:
    """Returns the features, which newer releases of the library wrap in an output object."""
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, Tensor)
    return features
