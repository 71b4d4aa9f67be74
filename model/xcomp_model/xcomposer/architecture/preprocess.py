"""An image as the vision towers of both models read it: resized to a square, scaled, normalised."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xcomp_model.base import ImagePart, ModelFailure

# CLIP's statistics (OpenAI CLIP, `clip.py`), which both towers were trained with.
_MEAN = np.array((0.48145466, 0.4578275, 0.40821073), dtype=np.float32)
_STD = np.array((0.26862954, 0.26130258, 0.27577711), dtype=np.float32)


def pixel_values(part: ImagePart, *, size: int) -> Tensor:
    """Returns [3, size, size] in fp32; the aspect ratio changes, and nothing is cropped.

    Raises:
        ModelFailure: the image cannot be decoded.
    """
    try:
        image = part.image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError) as error:
        raise ModelFailure(f"image {part.key} cannot be decoded: {error}") from error
    scaled = np.asarray(image, dtype=np.float32) / np.float32(255)
    return torch.from_numpy((scaled - _MEAN) / _STD).permute(2, 0, 1)
