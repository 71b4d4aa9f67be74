"""Prints hits: for a person on a terminal, as lines for a program, or as bare paths."""

import sys
from collections.abc import Sequence
from pathlib import Path

from xcomp_cli.output import console, hits, inline_images
from xcomp_protos import common_pb2 as common
from xcomp_protos.client import IndexerClient

THUMBNAIL_PX = 320


def print_paths(found: Sequence[common.Hit], *, end: str) -> None:
    """Prints the path of each hit, followed by a line break or, for `xargs -0`, by a null character.

    Paths before a null character are exact; on lines, characters that a terminal acts on are escaped.
    """
    for hit in found:
        console.print_exact(hit.image.path if end == "\0" else console.printable(hit.image.path), end=end)


def print_hits(found: Sequence[common.Hit], *, chinese: bool, client: IndexerClient | None) -> None:
    """Prints the hits; `client` fetches images for terminals that show them."""
    if not sys.stdout.isatty():
        for hit in found:
            console.print_result(f"{hit.rank}\t{hit.score:.4f}\t{console.printable(hit.image.path)}")
        return
    draw = inline_images.choose_draw() if client else None
    for hit in found:
        _print_hit(hit, chinese=chinese)
        if draw and client and (thumbnail := hits.fetch_thumbnail(client, hit.image, max_px=THUMBNAIL_PX)):
            draw(thumbnail[1])


def _print_hit(hit: common.Hit, *, chinese: bool) -> None:
    name = console.strong(console.printable(console.relative_path(hit.image.path)))
    if Path(hit.image.path).exists():
        name = console.link(name, hit.image.path)
    score = f"{hit.score:.3f}" if hit.score else ""
    sure = f"confidence {hit.confidence:.0%}" if hit.confidence else ""
    more = f"{hit.folded} more like it" if hit.folded else ""
    facts = " · ".join(fact for fact in (score, sure, more) if fact)
    console.print_result(f"{hit.rank:3}  {name}  {console.faint(facts)}".rstrip())
    size = f"{hit.image.width}×{hit.image.height}"
    known = (hits.own_caption(hit.image, chinese=chinese), hits.likely_labels(hit.image, chinese=chinese), size)
    line = f"     {console.printable(' · '.join(part for part in known if part))}"
    console.print_result(console.fit(line, console.columns()))
