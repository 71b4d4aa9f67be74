"""review.html: every spot with its query, its candidates and their scores, and why it was filled or not.

Thumbnails are inside the page, so that the folder of images to publish has only images that were chosen.
"""

import base64
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import PurePath

from xcomp_composer.article.model import Article, Candidate, Evidence, Illustration, SpaceScore, Unfilled
from xcomp_composer.bundle.page import render_document
from xcomp_composer.document.splitting import split_blocks

Thumbnail = Callable[[str], tuple[bytes, str] | None]  # image id to bytes and file suffix; None where the image is gone

_DIGEST_CHARACTERS = 12  # characters of a digest that tell weights apart
_MEDIA = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".png": "image/png", ".gif": "image/gif"}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "review": "How the images were chosen",
        "summary": "{filled} of {spots} spots filled · model {model} · profile {profile} · repository {repository}",
        "spot": "After segment {segment}",
        "unfilled": "left empty",
        "locked": "locked",
        "uncaptioned": "no caption known",
        "query": "Searched for",
        "why": "Why",
        "gone": "image no longer exists",
        "none": "The text has no spot for an image.",
        "elsewhere": "shown after segment {segment}",
        "edit": "To change a spot, run the command under an image in the folder of this page. Instead of --pick K, "
        "use --search QUERY, --image ID, --caption TEXT, --exclude, --remove or --lock.",
        "rests": "Based on",
        "prompt": "prompt {prompt}",
        "mass": "mass {mass:.2f}",
        "orders": "shown in {orders} orders",
        "flipped": "each order preferred a different image",
        "digest": "weights {digest}",
        "space": "{name} {score:.3f}, rank {rank}, {standout:+.1f} sd",
    },
    "zh": {
        "review": "选图过程",
        "summary": "{spots} 处中已配图 {filled} 处 · 模型 {model} · 配置 {profile} · 图库 {repository}",
        "spot": "第 {segment} 段之后",
        "unfilled": "未配图",
        "locked": "已锁定",
        "uncaptioned": "暂无图注",
        "query": "检索词",
        "why": "理由",
        "gone": "图片已不存在",
        "none": "没有找到适合配图的位置。",
        "elsewhere": "已用于第 {segment} 段之后",
        "edit": "要更改某处配图，请在本页所在的文件夹中运行图片下方的命令；--pick K 也可换成 "
        "--search QUERY、--image ID、--caption TEXT、--exclude、--remove 或 --lock。",
        "rests": "依据",
        "prompt": "提示 {prompt}",
        "mass": "概率质量 {mass:.2f}",
        "orders": "以 {orders} 种顺序展示",
        "flipped": "两种顺序的偏好不同",
        "digest": "权重 {digest}",
        "space": "{name} {score:.3f}，第 {rank} 名，{standout:+.1f} 个标准差",
    },
}


def render_review_page(article: Article, thumbnail: Thumbnail) -> str:
    """Returns the text of review.html."""
    words = _WORDS["zh" if article.language == "zh" else "en"]
    spots: dict[int, Illustration | Unfilled] = {spot.segment: spot for spot in article.unfilled}
    spots.update(article.illustrations)
    sections = [_render_spot(article, number, spots[number], words, thumbnail) for number in sorted(spots)]
    summary = words["summary"].format(
        filled=len(article.illustrations),
        spots=len(spots),
        model=", ".join(article.choosers),
        profile=article.profile,
        repository=article.repository,
    )
    heading = f'<h1>{escape(article.title)}</h1>\n<p class="summary">{words["review"]} · {escape(summary)}</p>\n'
    body = "".join([f'<p class="why">{words["edit"]}</p>\n', *sections]) if sections else f"<p>{words['none']}</p>"
    title = f"{article.title} · {words['review']}"
    return render_document(article, f"<main>\n{heading}{body}</main>", "page.css", "review.css", title=title)


def _render_spot(
    article: Article, number: int, spot: Illustration | Unfilled, words: Mapping[str, str], thumbnail: Thumbnail
) -> str:
    is_filled = isinstance(spot, Illustration)
    shown = {illustration.image_id: segment for segment, illustration in article.illustrations}
    cards = "".join(
        _render_card(candidate, _render_command(number, pick, shown.get(candidate.image_id), words), words, thumbnail)
        for pick, candidate in _number_candidates(spot)
    )
    pills = "".join(f'<span class="pill">{words[name]}</span>' for name in _list_states(spot))
    return (
        f'<section class="spot{"" if is_filled else " unfilled"}" id="spot-{number}">\n<div>\n'
        f"<h2><b>{words['spot'].format(segment=number)}</b>{pills}</h2>\n"
        f'<p class="words">{escape(_extract_prose(article, number))}</p>\n'
        f'<p class="query">{words["query"]}: <q>{escape(spot.query)}</q></p>\n'
        f'<p class="why">{words["why"]}: {escape(spot.reason)}</p>\n{_render_evidence(spot.evidence, words)}</div>\n'
        f'<ol class="cards">\n{cards}</ol>\n</section>\n'
    )


def _render_evidence(evidence: Evidence | None, words: Mapping[str, str]) -> str:
    """How a model chose; empty where the repository chose by its scores, which the candidates show."""
    if not evidence:
        return ""
    facts = [
        (evidence.prompt, "prompt"),
        (evidence.mass is not None, "mass"),
        (evidence.orders > 1, "orders"),
        (evidence.flipped, "flipped"),
        (evidence.model_digest, "digest"),
    ]
    digest = evidence.model_digest[:_DIGEST_CHARACTERS]
    lines = [
        words[key].format(prompt=evidence.prompt, mass=evidence.mass, orders=evidence.orders, digest=digest)
        for is_known, key in facts
        if is_known
    ]
    return f'<p class="evidence">{words["rests"]}: {escape(" · ".join(lines))}</p>\n' if lines else ""


def _number_candidates(spot: Illustration | Unfilled) -> Iterable[tuple[int, Candidate]]:
    """Yields the candidates with their numbers, before them the shown image if it is not a candidate, with -1."""
    if isinstance(spot, Illustration) and all(each.image_id != spot.image_id for each in spot.candidates):
        yield -1, Candidate(spot.image_id, spot.path, 0.0, reason=spot.reason)
    yield from enumerate(spot.candidates)


def _render_command(spot: int, pick: int, shown: int | None, words: Mapping[str, str]) -> str:
    """The command that picks a candidate; or the spot that shows it, since no image is shown twice; empty if here."""
    if shown is None:
        return f"<code>xcomp edit . --spot {spot} --pick {pick}</code>"
    return "" if shown == spot else f'<span class="score">{words["elsewhere"].format(segment=shown)}</span>'


def _list_states(spot: Illustration | Unfilled) -> Iterable[str]:
    if isinstance(spot, Unfilled):
        yield "unfilled"
        return
    if spot.locked:
        yield "locked"
    if spot.is_uncaptioned:
        yield "uncaptioned"


def _extract_prose(article: Article, number: int) -> str:
    blocks = split_blocks(article.segments[number].text, article.format)
    return " ".join(block.prose or block.text.strip() for block in blocks)


def _render_card(candidate: Candidate, command: str, words: Mapping[str, str], thumbnail: Thumbnail) -> str:
    """A candidate with the command that picks it; `command` is empty for the candidate that the spot shows."""
    file = thumbnail(candidate.image_id)
    name = PurePath(candidate.path).name
    image = f'<span class="missing">{words["gone"]}</span>'
    if file:
        data, suffix = file
        media = _MEDIA.get(suffix, "application/octet-stream")
        image = f'<img src="data:{media};base64,{base64.b64encode(data).decode()}" alt="">'
    probability = "" if candidate.probability is None else f" · p {candidate.probability:.2f}"
    spaces = "".join(
        f'<span class="score">{escape(_render_space(name, score, words))}</span>'
        for name, score in candidate.spaces.items()
    )
    opening = "<li>" if command else '<li class="chosen">'
    return (
        f"{opening}{image}"
        f'<span class="name" title="{escape(candidate.path)}">{escape(name)}</span>'
        f'<span class="score">{candidate.retrieval_score:.2f}{probability}</span>'
        f"{spaces}"
        f'<span class="reason">{escape(candidate.reason)}</span>{command}</li>\n'
    )


def _render_space(name: str, score: SpaceScore, words: Mapping[str, str]) -> str:
    return words["space"].format(name=name, score=score.score, rank=score.rank, standout=score.standout)
