"""Models of open_clip: its released tags, repositories of the hub in its format, and folders of that format.

The plain CLIP runs through OpenVINO, from its weight file, without the library. All other architectures, and all models
on a GPU, run through the library and torch (`openclip_torch`).
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_indexer.embed.clip import graph, shapes
from xcomp_indexer.embed.clip.byte_pairs import BytePairTokenizer
from xcomp_indexer.embed.clip.embedder import ClipEmbedder, ClipModel, Precision, loading
from xcomp_indexer.embed.clip.openclip_config import TOKENIZER_FILES, Configuration, read_configuration
from xcomp_indexer.embed.clip.openvino_networks import BATCH_SIZE, IMAGES_AT_ONCE, Graphs, OpenVinoNetworks, mark_ends
from xcomp_indexer.embed.clip.pixels import crop_middle
from xcomp_indexer.embed.clip.windows import Windows
from xcomp_indexer.embed.engine import openvino
from xcomp_indexer.embed.engine.execution import AUTO, Execution, choose_engine
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_indexer.embed.weights.sources import Release
from xcomp_indexer.embed.weights.state import check_shapes, read_weights
from xcomp_protos.errors import ModelError

log = logging.getLogger(__name__)

REVISION = "1"  # of the recipe of preprocessing and networks, the same in both engines; part of the digest
# Architectures and tokenizers that were also trained on Chinese: open_clip's README and model configurations.
_MULTILINGUAL = re.compile(r"siglip2|i18n|xlm-|mt5|nllb|worldwide", re.IGNORECASE)
# Names in a weight file that the networks do not have, or that do not shape features.
_UNUSED = ("logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size")


def load(release: Release, execution: Execution = AUTO, *, fast: bool = True) -> ClipEmbedder:
    """Loads a model of open_clip; `fast` lets torch compute only the pooled token in the last block.

    Raises:
        ModelError: files are missing, damaged, or do not fit together, or the engine cannot run the model.
    """
    with loading(release.model):
        configuration = read_configuration(release)
        has_graph = configuration.has_graph()
    engine = choose_engine(release.model, execution, has_graph=has_graph)
    with loading(release.model):
        model = _load_with(engine, release, configuration, execution, fast=fast)
    return ClipEmbedder(model, precision=execution.precision)


def list_companions(release: Release) -> Iterator[tuple[ModelSource, tuple[str, ...]]]:
    """Yields what else a model needs: its tokenizer, and the configuration of its text network.

    On ModelScope owners have other names, so a tokenizer is first looked for beside the weights. What was yielded must
    be fetched before the next item is asked for.
    """
    with loading(release.model):
        text_config = read_configuration(release).text
    source, files = release.source, TOKENIZER_FILES
    if name := str(text_config.get("hf_tokenizer_name") or ""):
        if source.is_on_modelscope:
            yield source, files
        if not source.is_local and not (source.is_on_modelscope and any(map(source.has, files))):
            yield source.beside(name), files
    if name := str(text_config.get("hf_model_name") or ""):
        yield source.beside(name), ("config.json",)


def list_languages(release: Release, configuration: Configuration) -> frozenset[str]:
    """Returns the languages that a model was trained on."""
    chinese = _MULTILINGUAL.search(f"{release.architecture} {configuration.text.get('hf_tokenizer_name')}")
    return frozenset({"en", "zh"} if chinese else {"en"})


def compute_digest(
    configuration: Configuration, preprocess: Mapping[str, object], tokenizer: str, weights: Path
) -> str:
    """Returns the digest of a model, the same for both engines."""
    recipe = json.dumps([configuration.network, preprocess], sort_keys=True)
    return cache.combine([REVISION, recipe, tokenizer, cache.sha256(weights)])


def _load_with(
    engine: str, release: Release, configuration: Configuration, execution: Execution, *, fast: bool
) -> ClipModel:
    if engine == "openvino":
        try:
            return OpenClipGraphs(release, configuration)
        except (ModelError, ValueError) as error:
            # The library knows other layouts of weight files, and raises its own errors on damaged ones.
            if execution.engine == "openvino" or not all(map(find_spec, ("torch", "open_clip"))):
                raise
            log.warning("event=kept_torch model=%s reason=%r", release.model, str(error))
    from xcomp_indexer.embed.clip.openclip_torch import OpenClipTorch

    return OpenClipTorch(release, configuration, fast=fast)


class OpenClipGraphs:
    """A plain CLIP through OpenVINO."""

    device = "openvino cpu"
    batch_size = texts_at_once = BATCH_SIZE
    images_at_once = IMAGES_AT_ONCE

    def __init__(self, release: Release, configuration: Configuration) -> None:
        weights = release.find()[-1]
        self.name = release.resolve(cache.commit_of(weights))
        self.has_fast_bf16 = openvino.has_bf16()
        vision, text = configuration.sizes()
        self.image_size, self.dimension = int(vision["image_size"]), int(str(configuration.network["embed_dim"]))
        preprocess = configuration.merge_preprocessing(self.image_size)
        self._tokenizer = BytePairTokenizer(int(text["context_length"]))
        self.languages = list_languages(release, configuration)
        self.digest = compute_digest(configuration, preprocess, self._tokenizer.digest, weights)
        state = read_weights(weights)
        check_shapes(state, shapes.list_open_clip_shapes(vision, text, self.dimension), unused=_UNUSED)
        activation = "quick_gelu" if configuration.network.get("quick_gelu") else "gelu"
        pixels = graph.Pixels(*(np.array(preprocess[key], np.float32) for key in ("mean", "std")))
        heads = int(vision["width"] // vision["head_width"])
        self._graphs = Graphs(
            graph.open_clip_image(state, graph.Tower(heads, activation), pixels),
            graph.open_clip_text(state, graph.Tower(int(text["heads"]), activation)),
            mark_ends,
        )

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Returns an upright RGB image as `[S, S, 3]`."""
        return crop_middle(image, self.image_size)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts as the library does, in as many windows as they need."""
        return self._tokenizer.windows(texts)

    def compile(self, precision: Precision) -> OpenVinoNetworks:
        """Returns the networks, ready to run."""
        return OpenVinoNetworks(self._graphs, precision)
