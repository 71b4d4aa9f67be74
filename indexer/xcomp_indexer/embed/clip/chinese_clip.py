"""Chinese-CLIP (arXiv:2211.01335): Chinese texts and images, through OpenVINO, or through torch on a GPU.

An image is resized to a square by Pillow's bicubic filter, as in training. A text is read in windows of 52 tokens. The
model needs its files as on the hub: config, preprocessor, vocabulary and weights.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from xcomp_indexer.embed.clip import graph, shapes
from xcomp_indexer.embed.clip.embedder import ClipEmbedder, ClipModel, Precision, loading
from xcomp_indexer.embed.clip.graph import Pixels
from xcomp_indexer.embed.clip.openvino_networks import (
    BATCH_SIZE,
    IMAGES_AT_ONCE,
    Graphs,
    OpenVinoNetworks,
    mask_padding,
)
from xcomp_indexer.embed.clip.pixels import squash
from xcomp_indexer.embed.clip.windows import Windows, cut_windows
from xcomp_indexer.embed.engine import openvino
from xcomp_indexer.embed.engine.execution import AUTO, Execution, choose_engine
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.sources import Release
from xcomp_indexer.embed.weights.state import check_shapes, read_weights
from xcomp_protos.errors import ModelError

log = logging.getLogger(__name__)

_REVISION = "1"  # of the recipe of preprocessing and networks, the same in both engines; part of the digest
# Tokens per text in training and in the authors' own code: `tokenize` of cn_clip/clip/utils.py.
_CONTEXT = 52
_UNKNOWN = "[UNK]"
PADDING = 0  # "[PAD]" is the first word of every BERT vocabulary
_BICUBIC = 3  # Pillow's number, as preprocessor configurations write it
# ChineseCLIPVisionConfig and ChineseCLIPTextConfig of transformers: what a configuration leaves out.
_VISION_DEFAULTS: Mapping[str, object] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
_TEXT_DEFAULTS: Mapping[str, object] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}  # fmt: skip
_DIMENSION = 512
_FIXED = ("hidden_act", "layer_norm_eps")  # the graphs have them built in


def load(release: Release, execution: Execution = AUTO, *, fast: bool = True) -> ClipEmbedder:
    """Loads a Chinese-CLIP; `fast` lets torch compute only the pooled token in the last block.

    Raises:
        ModelError: files are missing, damaged, or do not fit together, or the engine cannot run the model.
    """
    with loading(release.model):
        files = Files(release)
    engine = choose_engine(release.model, execution, has_graph=files.has_graph())
    with loading(release.model):
        model = _load_with(engine, files, execution, fast=fast)
    return ClipEmbedder(model, precision=execution.precision)


class Files:
    """What both engines need of the files of a model; `weights` are not read yet."""

    def __init__(self, release: Release) -> None:
        config, preprocessor, vocabulary, self.weights = release.find()
        self.release, self.name = release, release.resolve(cache.commit_of(self.weights))
        self.digest = cache.combine([_REVISION, *map(cache.sha256, (config, preprocessor, vocabulary, self.weights))])
        content = json.loads(config.read_text(encoding="utf-8"))
        self.vision: Mapping[str, object] = {**_VISION_DEFAULTS, **content.get("vision_config", {})}
        self.text: Mapping[str, object] = {**_TEXT_DEFAULTS, **content.get("text_config", {})}
        self.dimension, self.image_size = (
            int(content.get("projection_dim", _DIMENSION)),
            _number(self.vision, "image_size"),
        )
        self.normalisation = _read_normalisation(release.model, preprocessor, size=self.image_size)
        self._tokenizer, self._marks = _load_tokenizer(vocabulary)
        if self._tokenizer.get_vocab_size() > _number(self.text, "vocab_size"):
            raise ModelError(f"{release.model}: {vocabulary} belongs to another model: the network has fewer words")

    def has_graph(self) -> bool:
        """Whether `graph` builds its networks."""
        pairs = ((self.vision, _VISION_DEFAULTS), (self.text, _TEXT_DEFAULTS))
        return all(said[key] == default[key] for said, default in pairs for key in _FIXED)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of 52 tokens, padded to the longest."""
        tokens = [each.ids for each in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return cut_windows(tokens, length=_CONTEXT, marks=self._marks)


def _load_with(engine: str, files: Files, execution: Execution, *, fast: bool) -> ClipModel:
    if engine == "openvino":
        try:
            return ChineseClipGraphs(files)
        except ValueError as error:
            # The library knows other layouts of weight files, and raises its own errors on damaged ones.
            if execution.engine == "openvino" or not all(map(find_spec, ("torch", "transformers"))):
                raise
            log.warning("event=kept_torch model=%s reason=%r", files.name, str(error))
    from xcomp_indexer.embed.clip.chinese_clip_torch import ChineseClipTorch

    return ChineseClipTorch(files, fast=fast)


class ChineseClipGraphs:
    """A Chinese-CLIP through OpenVINO."""

    device = "openvino cpu"
    languages = frozenset({"zh"})
    batch_size = texts_at_once = BATCH_SIZE
    images_at_once = IMAGES_AT_ONCE

    def __init__(self, files: Files) -> None:
        self._files, self.name, self.digest = files, files.name, files.digest
        self.dimension, self.image_size = files.dimension, files.image_size
        self.has_fast_bf16 = openvino.has_bf16()
        state = read_weights(files.weights)
        check_shapes(state, shapes.list_chinese_shapes(files.vision, files.text, files.dimension))
        vision, text = (_number(part, "num_attention_heads") for part in (files.vision, files.text))
        self._graphs = Graphs(
            graph.chinese_image(state, graph.Tower(vision, "quick_gelu"), files.normalisation),
            graph.chinese_text(state, graph.Tower(text)),
            mask_padding,
        )

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Returns an upright RGB image as `[S, S, 3]`."""
        return squash(image, self.image_size)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of 52 tokens, padded to the longest."""
        return self._files.windows(texts)

    def compile(self, precision: Precision) -> OpenVinoNetworks:
        """Returns the networks, ready to run."""
        return OpenVinoNetworks(self._graphs, precision)


def _number(config: Mapping[str, object], name: str) -> int:
    return int(str(config[name]))


def _load_tokenizer(vocabulary: Path) -> tuple[Tokenizer, tuple[int, int]]:
    """Returns BERT's WordPiece in lower case (arXiv:1810.04805), and the ids of its start and end marks."""
    tokenizer = Tokenizer(WordPiece.from_file(str(vocabulary), unk_token=_UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    padding, unknown, start, end = map(tokenizer.token_to_id, ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]"))
    if padding != PADDING or unknown is None or start is None or end is None:
        raise ValueError(
            f"{vocabulary} is not a vocabulary of BERT: [PAD], {_UNKNOWN}, [CLS] or [SEP] is missing or misplaced"
        )
    return tokenizer, (start, end)


def _read_normalisation(model: str, preprocessor: Path, *, size: int) -> Pixels:
    """Returns mean and deviation of the channels; refuses a preprocessing that differs from `squash` otherwise."""
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
    return Pixels(mean, std)
