"""A CLIP model as an embedder: what the families share, whichever library runs their networks.

This file handles device, precision, batches and long texts. A `ClipBackend` turns images into pixels, texts into
tokens, and both into features.
"""

import logging
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from xcomp_indexer.embed import selftest
from xcomp_indexer.embed.base import Encoded, Prepared, Vectors
from xcomp_protos.errors import ImageError, ModelError

log = logging.getLogger(__name__)

Config = Mapping[str, object]  # of a model, as its files say
Precision = Literal["auto", "fp32", "bf16"]

# What the libraries raise on files that are damaged or belong to another model.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
_LIKE_FP32 = 0.999  # cosine that a lower precision must keep
# The largest tensor whose memory the C library reuses; for a larger one the system maps new pages every time.
# DEFAULT_MMAP_THRESHOLD_MAX of glibc's malloc.
_KEPT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Windows:
    """Tokenised texts; a text that is too long for the model has several windows."""

    input_ids: Tensor  # [W, T]
    owners: Sequence[int]  # the text of each window
    weights: Sequence[int]  # tokens of each window


def cut_windows(tokens: Sequence[Sequence[int]], *, length: int, marks: tuple[int, int], padded_to: int = 0) -> Windows:
    """Cuts token ids into windows between a start and an end mark, padded with 0.

    Args:
        tokens: ids of each text, without marks.
        length: tokens that the model reads at once, the marks included.
        marks: ids of start and end.
        padded_to: width of the result; 0 is the width of the longest window.
    """
    step = length - len(marks)
    pieces = [
        (owner, ids[start : start + step])
        for owner, ids in enumerate(tokens)
        for start in range(0, max(len(ids), 1), step)
    ]
    width = padded_to or max(len(piece) for _, piece in pieces) + len(marks)
    input_ids = torch.zeros(len(pieces), width, dtype=torch.long)
    for row, (_, piece) in zip(input_ids, pieces, strict=True):
        row[: len(piece) + len(marks)] = torch.tensor([marks[0], *piece, marks[1]])
    return Windows(input_ids, [owner for owner, _ in pieces], [max(len(piece), 1) for _, piece in pieces])


class ClipBackend(Protocol):
    """The two networks of a CLIP model with their preprocessing."""

    name: str
    digest: str
    dimension: int
    image_size: int
    image_floats: int  # in the largest tensor of one image; 0 if unknown
    languages: frozenset[str]
    network: torch.nn.Module

    def pixels(self, image: Image.Image) -> Tensor:
        """Returns an upright RGB image as the model's input `[3, S, S]`."""

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts; may be called from several threads."""

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Returns `[B, D]` of any length."""

    def text_features(self, input_ids: Tensor) -> Tensor:
        """Returns `[W, D]` of any length."""


class ClipEmbedder:
    """A CLIP model in memory, on the GPU if there is one.

    Args:
        backend: a loaded model.
        precision: `auto` is bf16 on GPUs and on CPUs with matrix units for it, and fp32 elsewhere.

    Raises:
        ModelError: the model cannot run.
    """

    def __init__(self, backend: ClipBackend, *, precision: Precision = "auto") -> None:
        self._backend = backend
        self.name = backend.name
        self.digest = backend.digest
        self.dimension = backend.dimension
        self.image_size = backend.image_size
        self.languages = backend.languages
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Larger batches gain nothing on a CPU and fill a GPU.
        self.batch_size = 128 if self._device.type == "cuda" else 16
        backend.network.eval().requires_grad_(requires_grad=False).to(self._device)
        self._images_at_once = self.batch_size
        if self._device.type == "cpu":
            _transpose_weights(backend.network)
            parts = math.ceil(4 * self.batch_size * backend.image_floats / _KEPT_BYTES) or 1
            self._images_at_once = math.ceil(self.batch_size / parts)
        self._half = False
        with loading(self.name):
            self._half = self._allows_half(precision)

    def prepare(self, image: Image.Image) -> Prepared:
        """Returns the pixels of an upright RGB image as the model takes them.

        Raises:
            ImageError: the preprocessing fails, for example on an image one pixel wide.
        """
        try:
            return self._backend.pixels(image)
        except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
            size = f"{image.width}x{image.height}"
            raise ImageError(f"{self.name} takes no image of {size} pixels: {error}", reason="unsupported") from None

    def encode_batch(self, prepared: Sequence[Prepared]) -> Encoded:
        """Embeds prepared images; row i belongs to image i."""
        return Encoded(self._embed_pixels(cast("Sequence[Tensor]", prepared)).numpy())

    def encode_images(self, images: Sequence[Image.Image]) -> Encoded:
        """Embeds upright RGB images; row i belongs to image i."""
        vectors = [torch.empty(0, self.dimension)]
        for start in range(0, len(images), self.batch_size):  # pixels need more memory than images
            some = [self.prepare(image) for image in images[start : start + self.batch_size]]
            vectors.append(self._embed_pixels(cast("Sequence[Tensor]", some)))
        return Encoded(torch.cat(vectors).numpy())

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts; a long text is the mean of its windows, weighted by their tokens."""
        return self._embed_texts(texts).numpy()

    @torch.inference_mode()
    def _embed_pixels(self, pixels: Sequence[Tensor]) -> Tensor:
        vectors = [torch.empty(0, self.dimension)]
        for start in range(0, len(pixels), self._images_at_once):
            pixel_values = torch.stack([*pixels[start : start + self._images_at_once]])
            with self._autocast():
                features = self._backend.image_features(self._to_device(pixel_values))
            vectors.append(self._normalize(features))
        return torch.cat(vectors)

    @torch.inference_mode()
    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        sums = torch.zeros(len(texts), self.dimension)
        if not texts:
            return sums
        # No tokenizer takes lone surrogates.
        windows = self._backend.windows([text.encode("utf-8", "replace").decode("utf-8") for text in texts])
        vectors = []
        for input_ids in torch.split(windows.input_ids, self.batch_size):
            with self._autocast():
                features = self._backend.text_features(self._to_device(input_ids))
            vectors.append(self._normalize(features))
        weights = torch.tensor(windows.weights, dtype=torch.float32)
        sums.index_add_(0, torch.tensor(windows.owners), torch.cat(vectors) * weights[:, None])
        return functional.normalize(sums, dim=-1)

    def _normalize(self, features: Tensor) -> Tensor:
        if features.shape[-1] != self.dimension:
            raise ModelError(
                f"{self.name} is unusable: its configuration says {self.dimension} wide, its vectors are"
                f" {features.shape[-1]} wide"
            )
        return functional.normalize(features.float(), dim=-1).cpu()

    def _to_device(self, batch: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return batch.pin_memory().to(self._device, non_blocking=True)
        return batch

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._half else nullcontext()

    def _test_pixels(self) -> list[Tensor]:
        return [self._backend.pixels(image) for image in selftest.sample_images()]

    def _allows_half(self, precision: Precision) -> bool:
        """Whether bf16 is wanted, and changes the vectors of this model only a little."""
        if precision == "fp32" or (precision == "auto" and not _is_fast_at_half(self._device)):
            return False
        exact = torch.cat([self._embed_pixels(self._test_pixels()), self._embed_texts(selftest.TEXTS)])
        self._half = True
        rough = torch.cat([self._embed_pixels(self._test_pixels()), self._embed_texts(selftest.TEXTS)])
        cosine = float((exact * rough).sum(dim=-1).min())
        if cosine < _LIKE_FP32:
            log.warning("event=kept_fp32 model=%s cosine_of_bf16=%.5f", self.name, cosine)
        return cosine >= _LIKE_FP32


def _transpose_weights(network: torch.nn.Module) -> None:
    """Transposes the weights of linear layers in memory, the order that matrix products of a CPU read fastest.

    Shapes, values and results stay the same. For few rows, such as one text, reading the weights is most of the time.
    """
    weights = [module.weight for module in network.modules() if isinstance(module, torch.nn.Linear)]
    # Attention has the weights of queries, keys and values in one tensor.
    weights += [weight for name, weight in network.named_parameters() if name.endswith("in_proj_weight")]
    for weight in filter(torch.Tensor.is_contiguous, weights):
        transposed = weight.t().contiguous()
        # In their old memory: weights in memory that is allocated now would keep the heap from shrinking later.
        weight.data = weight.data.view(transposed.shape).copy_(transposed).t()


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turns what the libraries raise on bad files into an error of one line."""
    try:
        yield
    except _DAMAGE as error:
        brief = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{model} cannot be loaded, its files are damaged or of another model: {brief}") from error


def _is_fast_at_half(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Older releases of torch do not have this function.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))
