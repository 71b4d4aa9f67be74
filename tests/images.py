"""Makers of test images: every kind a library may hold, and those that only pretend. Pixels are plain colours."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageDraw, PngImagePlugin

RED, GREEN, BLUE, YELLOW = (220, 20, 20), (20, 200, 20), (20, 20, 220), (230, 220, 20)
GPS_SECRET, SERIAL_SECRET, COMMENT_SECRET, XMP_SECRET = "52.5163N", "SN-4711-0815", "for my eyes only", "homeAddress"

Color = tuple[int, int, int]


def plain(color: Color = RED, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """An image of one colour."""
    return Image.new("RGB", size, color)


def striped(*colors: Color, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """An image of vertical stripes, left to right."""
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for at, color in enumerate(colors):
        draw.rectangle((at * size[0] // len(colors), 0, size[0], size[1]), fill=color)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image in a format of Pillow's."""
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def jpeg(color: Color = RED, size: tuple[int, int] = (96, 64)) -> bytes:
    """A JPEG of one colour."""
    return encoded(plain(color, size), quality=95)


def oriented(orientation: int, kind: str = "JPEG") -> bytes:
    """An image that stands upright as 64x96, red above blue, however it is stored."""
    upright = Image.new("RGB", (64, 96), RED)
    upright.paste(BLUE, (0, 48, 64, 96))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    return encoded(stored, kind, exif=exif)


def telling() -> bytes:
    """A JPEG that says more than its owner would: place, serial number, comment, XMP, and things worth keeping."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "Hafen bei Nacht, 夜晚的港口".encode()
    exif[ExifTags.Base.Artist] = "Ann Other"
    exif[ExifTags.Base.Copyright] = "(c) 2024 Ann Other"
    detail = exif.get_ifd(ExifTags.IFD.Exif)
    detail[ExifTags.Base.DateTimeOriginal] = "2024:05:01 18:30:00"
    detail[ExifTags.Base.BodySerialNumber] = SERIAL_SECRET
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = GPS_SECRET
    xmp = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{XMP_SECRET}</x:xmpmeta>".encode()
    return encoded(plain(), exif=exif, comment=COMMENT_SECRET.encode(), xmp=xmp, quality=95)


def with_xmp(properties: str, **attributes: str) -> bytes:
    """A JPEG with an XMP packet; attributes are those of its description, named as in `photoshop_Credit`."""
    said = " ".join(f'{name.replace("_", ":")}="{value}"' for name, value in attributes.items())
    packet = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" {said}
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">{properties}</rdf:Description></rdf:RDF>
</x:xmpmeta>{" " * 2000}<?xpacket end="w"?>"""
    return encoded(plain(), xmp=packet.encode())


def located(
    latitude: tuple[float, float, float], north: str, longitude: tuple[float, float, float], east: str
) -> bytes:
    """A JPEG that says where it was taken: degrees, minutes, seconds and a side, twice."""
    exif = Image.Exif()
    block = exif.get_ifd(ExifTags.IFD.GPSInfo)
    block[ExifTags.GPS.GPSLatitude], block[ExifTags.GPS.GPSLatitudeRef] = latitude, north
    block[ExifTags.GPS.GPSLongitude], block[ExifTags.GPS.GPSLongitudeRef] = longitude, east
    return encoded(plain(), exif=exif)


def with_iptc(fields: Mapping[tuple[int, int], list[bytes]]) -> bytes:
    """A JPEG with an IPTC block, as photo agencies write it."""
    records = b"".join(
        b"\x1c" + bytes(key) + struct.pack(">H", len(value)) + value
        for key, values in fields.items()
        for value in values
    )
    padded = records + b"\0" * (len(records) % 2)
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + padded
    content = jpeg()
    return content[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + content[2:]


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"----").replace(b"bXYZ", b"rXYZ").replace(b"----", b"bXYZ")


def heic() -> bytes:
    """A HEIC, as phones write it."""
    target = io.BytesIO()
    pillow_heif.from_pillow(plain()).save(target, quality=80)
    return target.getvalue()


def gif() -> bytes:
    """An animation whose first frame is red."""
    return encoded(plain(RED), "GIF", save_all=True, append_images=[plain(BLUE)], duration=50)


def mpo() -> bytes:
    """A JPEG with a second image behind the first, as many cameras write it."""
    return encoded(plain(RED), "MPO", save_all=True, append_images=[plain(BLUE)])


def sixteen_bits() -> bytes:
    """A grey PNG of 16 bits, bright."""
    return encoded(Image.fromarray(np.full((64, 96), 60_000, dtype=np.uint16)), "PNG")


def transparent() -> bytes:
    """A red square on nothing."""
    image = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    image.paste((*RED, 255), (24, 16, 72, 48))
    return encoded(image, "PNG")


def palette_with_alpha() -> bytes:
    """A palette image with a transparent entry."""
    image = plain().quantize(4)
    return encoded(image, "PNG", transparency=0)


def bomb(side: int = 30_000) -> bytes:
    """A PNG of a few hundred bytes that says it is 900 megapixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def noted() -> bytes:
    """A PNG with a text chunk."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", COMMENT_SECRET)
    return encoded(plain(), "PNG", pnginfo=note)


def truncated() -> bytes:
    """A JPEG of noise, cut in the middle."""
    noise = np.random.default_rng(7).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise))
    return content[: len(content) // 2]


READABLE: Mapping[str, Callable[[], bytes]] = {
    "plain.jpg": jpeg,
    "cmyk.jpg": lambda: encoded(plain().convert("CMYK")),
    "grey.jpg": lambda: encoded(plain().convert("L")),
    "mpo.jpg": mpo,
    "rgb.png": lambda: encoded(plain(), "PNG"),
    "transparent.png": transparent,
    "palette.png": lambda: encoded(plain().quantize(4), "PNG"),
    "palette_alpha.png": palette_with_alpha,
    "grey_alpha.png": lambda: encoded(plain().convert("LA"), "PNG"),
    "sixteen.png": sixteen_bits,
    "one_bit.png": lambda: encoded(plain().convert("1"), "PNG"),
    "animated.gif": gif,
    "image.webp": lambda: encoded(plain(), "WEBP"),
    "image.avif": lambda: encoded(plain(), "AVIF"),
    "image.heic": heic,
    "image.tif": lambda: encoded(plain(), "TIFF"),
    "float.tif": lambda: encoded(Image.fromarray(np.linspace(0, 9, 6144, dtype=np.float32).reshape(64, 96)), "TIFF"),
    "image.bmp": lambda: encoded(plain(), "BMP"),
}

BROKEN: Mapping[str, tuple[Callable[[], bytes], str]] = {  # with the reason it is skipped for
    "truncated.jpg": (truncated, "truncated"),
    "text.jpg": (lambda: b"Dear diary, today I wrote a text.", "not_an_image"),
    "empty.jpg": (lambda: b"", "empty"),
    "bomb.png": (bomb, "too_large"),
    "script.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not_an_image"),
    "cut.png": (lambda: encoded(plain(), "PNG")[:60], "truncated"),
}


def library(folder: Path, colors: Mapping[str, Color]) -> Path:
    """Writes one JPEG per name below a folder; each has its own bytes."""
    for at, (name, color) in enumerate(colors.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(color, (96, 64 + at)))
    return folder
