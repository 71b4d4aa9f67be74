"""Chinese-CLIP (arXiv:2211.01335) through transformers: Chinese texts and images.

An image is resized to a square by Pillow's bicubic filter, as in training. A text is read in windows of 52 tokens. The
model needs its files as on the hub: config, preprocessor, vocabulary and weights.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor
from transformers import ChineseCLIPModel
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPTextLayer, ChineseCLIPVisionLayer
from transformers.utils import logging as transformers_logging

from xcomp_indexer.embed.clip import ClipEmbedder, Precision, Windows, cut_windows, loading
from xcomp_indexer.embed.pooled_attention import BlockParts, fast_last_block
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError

Vector = NDArray[np.float32]

_REVISION = "1"  # of the recipe in this file; part of the digest
# Tokens per text in training and in the authors' own code: `tokenize` of cn_clip/clip/utils.py.
_CONTEXT = 52
_UNKNOWN = "[UNK]"
_PADDING = 0  # "[PAD]" is the first word of every BERT vocabulary
_BICUBIC = 3  # Pillow's number, as preprocessor configurations write it


def load(release: Release, *, precision: Precision = "auto", fast: bool = True) -> ClipEmbedder:
    """Loads a Chinese-CLIP; `fast` computes only the pooled token in the last block.

    Raises:
        ModelError: files are missing, damaged, or do not fit together.
    """
    with loading(release.model):
        backend = ChineseClipBackend(release, fast=fast)
    return ClipEmbedder(backend, precision=precision)


class ChineseClipBackend:
    """The two networks of a Chinese-CLIP."""

    languages = frozenset({"zh"})

    def __init__(self, release: Release, *, fast: bool = True) -> None:
        config, preprocessor, vocabulary, weights = release.find()
        self.name = release.resolve(cache.commit_of(weights))
        self.digest = cache.combine([_REVISION, *map(cache.sha256, (config, preprocessor, vocabulary, weights))])
        self._model = _load_network(release.model, weights)
        if fast:
            fast_last_block(self._model.vision_model.encoder.layers, _image_parts)
            fast_last_block(self._model.text_model.encoder.layer, _text_parts)
        self.network: torch.nn.Module = self._model
        self.dimension = _number(self._model.config, "projection_dim")
        self.image_size = _number(self._model.config.vision_config, "image_size")
        tokens = self._model.vision_model.embeddings.num_positions
        self.image_floats = tokens * _number(self._model.config.vision_config, "intermediate_size")
        self._mean, self._std = _read_normalisation(release.model, preprocessor, size=self.image_size)
        self._tokenizer, self._marks = _load_tokenizer(vocabulary)
        if self._tokenizer.get_vocab_size() > _number(self._model.config.text_config, "vocab_size"):
            raise ModelError(f"{release.model}: {vocabulary} belongs to another model: the network has fewer words")

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB image as the model's input `[3, S, S]`."""
        resized = image.convert("RGB").resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
        values = (np.asarray(resized, dtype=np.float32) / 255 - self._mean) / self._std
        return torch.from_numpy(values).permute(2, 0, 1)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of 52 tokens, padded to the longest."""
        tokens = [each.ids for each in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return cut_windows(tokens, length=_CONTEXT, marks=self._marks)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Returns `[B, D]` of any length."""
        return _features(self._model.get_image_features(pixel_values=pixel_values))

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Returns `[W, D]` of any length."""
        attention_mask = (input_ids != _PADDING).long()
        return _features(self._model.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


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


def _number(config: object, name: str) -> int:
    return int(getattr(config, name))


def _load_tokenizer(vocabulary: Path) -> tuple[Tokenizer, tuple[int, int]]:
    """Returns BERT's WordPiece in lower case (arXiv:1810.04805), and the ids of its start and end marks."""
    tokenizer = Tokenizer(WordPiece.from_file(str(vocabulary), unk_token=_UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    padding, unknown, start, end = map(tokenizer.token_to_id, ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]"))
    if padding != _PADDING or unknown is None or start is None or end is None:
        raise ValueError(
            f"{vocabulary} is not a vocabulary of BERT: [PAD], {_UNKNOWN}, [CLS] or [SEP] is missing or misplaced"
        )
    return tokenizer, (start, end)


def _read_normalisation(model: str, preprocessor: Path, *, size: int) -> tuple[Vector, Vector]:
    """Returns mean and deviation of the channels; refuses a preprocessing that differs from `pixels` otherwise."""
    config = json.loads(preprocessor.read_text(encoding="utf-8"))
    square = config.get("size")
    if isinstance(square, dict):
        square = (square.get("height"), square.get("width"))
    expected = {
        "size": (square in (size, (size, size)), f"{size} by {size}"),
        "do_resize": (config.get("do_resize", True), "true"),
        "do_center_crop": (not config.get("do_center_crop", False), "false"),
        "do_rescale": (config.get("do_rescale", True), "true"),
        "do_normalize": (config.get("do_normalize", True), "true"),
        "rescale_factor": (abs(config.get("rescale_factor", 1 / 255) - 1 / 255) < 1e-6, "1/255"),
        "resample": (config.get("resample", _BICUBIC) == _BICUBIC, f"{_BICUBIC}, bicubic"),
    }
    for key, (right, wanted) in expected.items():
        if not right:
            raise ModelError(
                f"{model}: {preprocessor} says {key} {config.get(key)}, a Chinese-CLIP needs {wanted}:"
                f" it belongs to another model"
            )
    mean, std = (np.asarray(config[key], dtype=np.float32) for key in ("image_mean", "image_std"))
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise ModelError(f"{model}: image_mean and image_std of {preprocessor} are not three numbers each")
    return mean, std


def _features(output: object) -> Tensor:
    """Returns the features, which newer releases of the library wrap in an output object."""
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, Tensor)
    return features
