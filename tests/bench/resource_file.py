"""Reads Qt resource files (.rcc), in which some packages keep their images.

Layout as in qtbase, src/corelib/io/qresource.cpp: a header with the offsets of tree, data and names; the tree's nodes
are folders or files, names are UTF-16, and compressed contents are zlib streams behind their length.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_FOLDER, _COMPRESSED = 2, 1  # flags of a node
_NODE_BYTES = {1: 14, 2: 22, 3: 22}  # by version; the rest of a node is its time stamp


def read(path: Path) -> dict[str, bytes]:
    """Returns the contents of all files inside, by their path."""
    content = path.read_bytes()
    magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
    assert magic == b"qres", f"{path} is no Qt resource file"

    def name(offset: int) -> str:
        length = struct.unpack_from(">H", content, names + offset)[0]
        return content[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    def files(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * _NODE_BYTES[version]
        named, flags = struct.unpack_from(">IH", content, at)
        here = f"{folder}/{name(named)}" if node else folder
        if flags & _FOLDER:
            count, first = struct.unpack_from(">II", content, at + 6)
            for child in range(first, first + count):
                yield from files(child, here)
            return
        start = data + struct.unpack_from(">I", content, at + 10)[0]
        length = struct.unpack_from(">I", content, start)[0]
        body = content[start + 4 : start + 4 + length]
        yield here, zlib.decompress(body[4:]) if flags & _COMPRESSED else body

    return dict(files(0, ""))
