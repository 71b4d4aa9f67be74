"""The colours of an image by name; the classes of the network do not name colours.

Names are the eleven basic colour terms (Berlin & Kay, 1969). A pixel has the name of the nearest example in CIELAB
(CIE 15), where distances are close to perceived differences. Does not depend on vectors.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Examples of each term in sRGB, from saturated to the tones that photos show.
_EXAMPLES = {
    "red": ((200, 30, 35), (150, 30, 40)),
    "orange": ((235, 125, 30), (205, 105, 45)),
    "yellow": ((240, 215, 50), (205, 180, 70)),
    "green": ((60, 145, 60), (85, 110, 55), (50, 75, 45), (140, 170, 90)),
    "blue": ((20, 20, 230), (45, 90, 190), (120, 170, 225), (45, 70, 110), (90, 130, 175)),
    "purple": ((110, 60, 150), (150, 110, 180)),
    "pink": ((235, 130, 165), (235, 185, 195)),
    "brown": ((110, 70, 40), (150, 110, 75), (70, 45, 30)),
    "white": ((250, 250, 250), (225, 225, 225)),
    "gray": ((190, 190, 190), (150, 150, 150), (105, 105, 105), (75, 75, 75)),
    "black": ((10, 10, 10), (40, 40, 40)),
}
NAMES = tuple(_EXAMPLES)
_THUMBNAIL = (32, 32)
# sRGB (IEC 61966-2-1) to XYZ under D65, divided by the white point.
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=np.float32
) / np.array([[0.9505], [1.0], [1.089]], dtype=np.float32)


def measure_shares(image: Image.Image) -> NDArray[np.float32]:
    """Returns the share of the area of an RGB image that each of `NAMES` covers; they sum to 1."""
    thumbnail = image.convert("RGB").resize(_THUMBNAIL, Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = _to_lab(np.asarray(thumbnail).reshape(-1, 3))
    distances = (_POINTS**2).sum(axis=1) - 2 * pixels @ _POINTS.T  # squared, without the pixel's own square
    counts = np.bincount(_NAME_OF_POINT[distances.argmin(axis=1)], minlength=len(NAMES))
    return (counts / len(pixels)).astype(np.float32)


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:  # [N, 3] -> [N, 3]
    c = rgb.astype(np.float32) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1).astype(np.float32)


_POINTS = _to_lab(np.array([example for examples in _EXAMPLES.values() for example in examples], dtype=np.uint8))
_NAME_OF_POINT = np.repeat(np.arange(len(NAMES)), [len(examples) for examples in _EXAMPLES.values()])
