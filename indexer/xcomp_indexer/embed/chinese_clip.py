"""Chinese-CLIP (arXiv:2211.01335) through transformers: Chinese texts and pictures.

A picture is squeezed into a square by Pillow's bicubic filter, as the model was trained; a text is read in windows of
52 tokens. Needs a folder in the hub's layout: config, preprocessor, vocabulary and weights.
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

from xcomp_indexer.embed import pooled_attention
from xcomp_indexer.embed.clip import ClipEmbedder, Precision, Windows, cut, reading
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.sources import Release
from xcomp_protos.errors import ModelError

Vector = NDArray[np.float32]

_REVISION = "1"  # of the recipe in this file; part of the digest
# Tokens per text in training and in the authors' own code: `tokenize` of cn_clip/clip/utils.py.
_CONTEXT = 52
_UNKNOWN = "[UNK]"
_PADDING = 0  # "[PAD]" heads every BERT vocabulary
_BICUBIC = 3  # Pillow's number, as preprocessor configurations write it


class ChineseClipBackend:
    """The two networks of a Chinese-CLIP."""

    languages = frozenset({"zh"})

    def __init__(self, release: Release) -> None:
        config, preprocessor, vocabulary, weights = release.find()
        self.name = release.resolved(cache.commit_of(weights))
        self.digest = cache.combined([_REVISION, *map(cache.sha256, (config, preprocessor, vocabulary, weights))])
        self._model = _model(release.model, weights)
        _pool(self._model)
        self.network: torch.nn.Module = self._model
        self.dimension = _number(self._model.config, "projection_dim")
        self.image_size = _number(self._model.config.vision_config, "image_size")
        tokens = self._model.vision_model.embeddings.num_positions
        self.image_floats = tokens * _number(self._model.config.vision_config, "intermediate_size")
        self._mean, self._std = _normalisation(release.model, preprocessor, size=self.image_size)
        self._tokenizer, self._marks = _tokenizer(vocabulary)
        if self._tokenizer.get_vocab_size() > _number(self._model.config.text_config, "vocab_size"):
            raise ModelError(f"{release.model}: {vocabulary} has more words than the network, it is of another model")

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB picture as the model's input `[3, S, S]`."""
        squeezed = image.convert("RGB").resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
        values = (np.asarray(squeezed, dtype=np.float32) / 255 - self._mean) / self._std
        return torch.from_numpy(values).permute(2, 0, 1)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of 52 tokens, padded to the longest."""
        tokens = [each.ids for each in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return cut(tokens, length=_CONTEXT, marks=self._marks)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Returns `[B, D]` of any length."""
        return _features(self._model.get_image_features(pixel_values=pixel_values))

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Returns `[W, D]` of any length."""
        attention_mask = (input_ids != _PADDING).long()
        return _features(self._model.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


def load(release: Release, *, precision: Precision = "auto") -> ClipEmbedder:
    """Loads a Chinese-CLIP.

    Raises:
        ModelError: files are missing, damaged, or do not fit together.
    """
    with reading(release.model):
        towers = ChineseClipBackend(release)
    return ClipEmbedder(towers, precision=precision)


def _model(model: str, weights: Path) -> ChineseCLIPModel:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    loaded: tuple[ChineseCLIPModel, Mapping[str, Collection[str]]] = ChineseCLIPModel.from_pretrained(  # type: ignore[assignment]  # a pair with output_loading_info
        str(weights.parent),
        local_files_only=True,
        use_safetensors=weights.suffix == ".safetensors",
        weights_only=True,
        dtype=torch.float32,
        attn_implementation="sdpa",  # its masks are those that `pooled.attend` takes
        output_loading_info=True,
    )
    network, report = loaded
    missing = sorted(report["missing_keys"])  # the library would leave them random
    if missing:
        raise ModelError(f"{model}: {weights} lacks {len(missing)} tensors of the network, {missing[0]} for one")
    return network


def _pool(network: ChineseCLIPModel) -> None:
    """Makes the last layer of both towers compute the first token alone, since the library uses no other."""
    of_pictures, of_texts = network.vision_model.encoder.layers, network.text_model.encoder.layer
    of_pictures[-1] = _PictureLayer(of_pictures[-1])
    of_texts[-1] = _TextLayer(of_texts[-1])  # type: ignore[arg-type]  # a list of modules does not say of which


class _PictureLayer(torch.nn.Module):
    """Does what a layer of the vision tower does, for the first token."""

    def __init__(self, layer: ChineseCLIPVisionLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:  # [B, T, D] -> [B, 1, D]
        attn, tokens = self.layer.self_attn, self.layer.layer_norm1(x)
        projections = [attn.q_proj, attn.k_proj, attn.v_proj]
        seen = _first_sees(tokens, projections, heads=attn.num_heads, attention_mask=attention_mask)
        token: Tensor = x[:, 0] + attn.out_proj(seen)
        token = token + self.layer.mlp(self.layer.layer_norm2(token))
        return token[:, None]


class _TextLayer(torch.nn.Module):
    """Does what a layer of the text tower does, for the first token."""

    def __init__(self, layer: ChineseCLIPTextLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:  # [B, T, D] -> [B, 1, D]
        attn = self.layer.attention.self
        projections = [attn.query, attn.key, attn.value]
        seen = _first_sees(x, projections, heads=attn.num_attention_heads, attention_mask=attention_mask)
        token: Tensor = self.layer.attention.output(seen, x[:, 0])
        token = self.layer.output(self.layer.intermediate(token), token)
        return token[:, None]


def _first_sees(
    tokens: Tensor, projections: Sequence[torch.nn.Linear], *, heads: int, attention_mask: Tensor | None
) -> Tensor:
    return pooled_attention.attend(
        tokens[:, 0],
        tokens,
        weights=[each.weight for each in projections],
        biases=[each.bias for each in projections],
        heads=heads,
        mask=None if attention_mask is None else attention_mask[:, 0, :1],  # [B, 1, T, T] -> [B, 1, T]
    )


def _number(config: object, name: str) -> int:
    return int(getattr(config, name))


def _tokenizer(vocabulary: Path) -> tuple[Tokenizer, tuple[int, int]]:
    """BERT's WordPiece in lower case (arXiv:1810.04805), and the ids of its marks of start and end."""
    tokenizer = Tokenizer(WordPiece.from_file(str(vocabulary), unk_token=_UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    padding, unknown, start, end = map(tokenizer.token_to_id, ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]"))
    if padding != _PADDING or unknown is None or start is None or end is None:
        raise ValueError(
            f"{vocabulary} is no vocabulary of BERT: [PAD], {_UNKNOWN}, [CLS] or [SEP] is not in its place"
        )
    return tokenizer, (start, end)


def _normalisation(model: str, preprocessor: Path, *, size: int) -> tuple[Vector, Vector]:
    """Returns mean and deviation of the channels, if the rest of the preprocessing is what `pixels` does."""
    said = json.loads(preprocessor.read_text(encoding="utf-8"))
    square = said.get("size")
    if isinstance(square, dict):
        square = (square.get("height"), square.get("width"))
    expected = {
        "size": (square in (size, (size, size)), f"{size} by {size}"),
        "do_resize": (said.get("do_resize", True), "true"),
        "do_center_crop": (not said.get("do_center_crop", False), "false"),
        "do_rescale": (said.get("do_rescale", True), "true"),
        "do_normalize": (said.get("do_normalize", True), "true"),
        "rescale_factor": (abs(said.get("rescale_factor", 1 / 255) - 1 / 255) < 1e-6, "1/255"),
        "resample": (said.get("resample", _BICUBIC) == _BICUBIC, f"{_BICUBIC}, bicubic"),
    }
    for key, (right, wanted) in expected.items():
        if not right:
            raise ModelError(
                f"{model}: {preprocessor} says {key} {said.get(key)}, a Chinese-CLIP needs {wanted}:"
                f" it is of another model"
            )
    mean, std = (np.asarray(said[key], dtype=np.float32) for key in ("image_mean", "image_std"))
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise ModelError(f"{model}: image_mean and image_std of {preprocessor} are not three numbers each")
    return mean, std


def _features(output: object) -> Tensor:
    """Older releases of the library return the features themselves, newer ones wrap them."""
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, Tensor)
    return features
