"""The networks of a CLIP model through torch, on the GPU if there is one."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from xcomp_indexer.embed.base import Prepared, Vectors
from xcomp_indexer.embed.clip.embedder import Precision
from xcomp_indexer.embed.clip.windows import Ids

# The largest tensor whose memory the C library reuses; for a larger one the system maps new pages every time.
# DEFAULT_MMAP_THRESHOLD_MAX of glibc's malloc.
_KEPT_BYTES = 32 * 2**20

Feature = Callable[[Tensor], Tensor]


class TorchDevice:
    """Where a network runs, and how much of it at once.

    Args:
        network: holds both networks; it is moved to the device.
        image_floats: numbers in the largest tensor of one image; 0 if unknown.
    """

    def __init__(self, network: torch.nn.Module, *, image_floats: int) -> None:
        self.type = "cuda" if torch.cuda.is_available() else "cpu"
        # Larger batches gain nothing on a CPU and fill a GPU.
        self.batch_size = self.images_at_once = 128 if self.type == "cuda" else 16
        network.eval().requires_grad_(requires_grad=False).to(self.type)
        if self.type == "cpu":
            _transpose_weights(network)
            parts = math.ceil(4 * self.batch_size * image_floats / _KEPT_BYTES) or 1
            self.images_at_once = math.ceil(self.batch_size / parts)

    @property
    def has_fast_bf16(self) -> bool:
        """Whether it computes faster in bf16: GPUs, and CPUs with matrix units for it."""
        if self.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        # Older releases of torch do not have this function.
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16"))


class TorchNetworks:
    """Both networks in one precision; `image` and `text` turn a batch on the device into features."""

    def __init__(self, device: TorchDevice, precision: Precision, *, image: Feature, text: Feature) -> None:
        self._device, self._half = device, precision == "bf16"
        self._image, self._text = image, text

    def image_features(self, pixels: Sequence[Prepared]) -> Vectors:
        """Returns `[B, D]` of any length."""
        return self._run(self._image, torch.stack(list(cast("Sequence[Tensor]", pixels))))

    def text_features(self, input_ids: Ids) -> Vectors:
        """Returns `[W, D]` of any length."""
        return self._run(self._text, torch.from_numpy(np.ascontiguousarray(input_ids)))

    @torch.inference_mode()
    def _run(self, feature: Feature, batch: Tensor) -> Vectors:
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device.type, non_blocking=True)
        context = torch.autocast(self._device.type, torch.bfloat16) if self._half else nullcontext()
        with context:
            features = feature(batch)
        vectors: Vectors = features.float().cpu().numpy()
        return vectors


@contextmanager
def reading_weights() -> Iterator[None]:
    """Turns the error of safetensors, which is of no usual kind, into a `ValueError`."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(str(error)) from error


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
