"""Writes the page of a search: every hit with its image, in one file without other files.

Names, captions and the query are foreign text and are escaped; the page runs no code.
"""

import os
from base64 import b64encode
from contextlib import suppress
from html import escape
from pathlib import Path

from xcomp_cli.output import hits
from xcomp_cli.output.console import printable
from xcomp_cli.output.hits import (
    fetch_thumbnail,
)
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.client import IndexerClient

THUMBNAIL_PX = 480

_PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c1b1a; --faint: #76716a; --paper: #faf9f7; --card: #fff; --line: #e6e2dc }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ece9e4; --faint: #98928a; --paper: #171614; --card: #211f1d; --line: #34312d }}
}}
body {{ margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere }}
p {{ margin: 0; color: var(--faint) }}
ol {{ display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); list-style: none;
  padding: 0; margin: 2rem 0 0 }}
li {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden }}
img {{ display: block; width: 100%; height: 12rem; object-fit: contain; background: var(--line) }}
.gone {{ height: 12rem; display: grid; place-content: center; padding: 0 2rem; text-align: center;
  background: var(--line) }}
div {{ padding: .7rem .9rem .9rem; font-size: .875rem; overflow-wrap: anywhere }}
b {{ font-weight: 600 }}
b, .about {{ display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden }}
small {{ color: var(--faint) }}
</style>
<h1>{title}</h1>
<p>{count}</p>
<ol>
{hits}
</ol>
</html>
"""
_IMAGE = '<img src="data:{media};base64,{data}" alt="{alt}" loading="lazy">'
_GONE = '<p class="gone">{gone}</p>'
_HIT = """<li>{image}
<div><b>{rank}. {name}</b>{about}
<small title="{path}">{word} {score:.3f}{sure} · {width} × {height}</small></div></li>"""

_WORDS = {
    "en": {
        "like": "Like the image",
        "one": "1 image from {repository}",
        "many": "{count} images from {repository}",
        "gone": "no longer there, or changed since it was indexed",
        "score": "score",
        "sure": " · confidence {confidence:.0%}",
        "sees": "sees: {labels}",
    },
    "zh": {
        "like": "与图片相似",
        "one": "{repository} 中的 1 张图片",
        "many": "{repository} 中的 {count} 张图片",
        "gone": "图片已不在，或在建立索引后有改动",
        "score": "得分",
        "sure": " · 把握 {confidence:.0%}",
        "sees": "识别为：{labels}",
    },
}


def write_page(file: Path, query: str, result: pb.QueryResult, *, client: IndexerClient) -> None:
    """Writes the page of the hits in the language of the query; fetches the images from the indexer."""
    language = "zh" if result.language == common.LANGUAGE_ZH else "en"
    words = _WORDS[language]
    cards = [_card(hit, client, language) for hit in result.hits]
    names = sorted({hit.image.repository for hit in result.hits})
    count = words["one" if len(cards) == 1 else "many"]
    page = _PAGE.format(
        language="zh-CN" if language == "zh" else "en",
        title=escape(printable(query)) or words["like"],
        count=count.format(count=len(cards), repository=escape(", ".join(names) or "–")),
        hits="\n".join(cards),
    )
    _write(file, page)


def _write(file: Path, page: str) -> None:
    """Writes the page completely or not at all; a pipe or device is written directly."""
    if file.exists() and not file.is_file():
        file.write_text(page, encoding="utf-8")
        return
    try:
        _replace(Path(os.path.realpath(file)), page)  # a link stays a link
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def _replace(target: Path, page: str) -> None:
    draft = target.with_name(f".xcomp.{os.getpid()}.part")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(target)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _card(hit: common.Hit, client: IndexerClient, language: str) -> str:
    image, words, chinese = hit.image, _WORDS[language], language == "zh"
    caption, labels = hits.own_caption(image, chinese=chinese), hits.likely_labels(image, chinese=chinese)
    lines = (caption, words["sees"].format(labels=labels) if labels else "")
    sure = words["sure"].format(confidence=hit.confidence) if hit.confidence else ""
    name = escape(printable(Path(image.path).name))
    return _HIT.format(
        image=_image_tag(image, client, alt=escape(printable(caption)) or name) or _GONE.format(gone=words["gone"]),
        word=words["score"],
        sure=sure,
        rank=hit.rank,
        name=name,
        about="".join(f'<span class="about">{escape(printable(line))}</span>' for line in lines if line),
        path=escape(printable(image.path)),
        score=hit.score,
        width=image.width,
        height=image.height,
    )


def _image_tag(image: common.Image, client: IndexerClient, *, alt: str) -> str:
    found = fetch_thumbnail(client, image, max_px=THUMBNAIL_PX)
    if not found:
        return ""
    media, data = found
    return _IMAGE.format(media=escape(media), data=b64encode(data).decode("ascii"), alt=alt)
