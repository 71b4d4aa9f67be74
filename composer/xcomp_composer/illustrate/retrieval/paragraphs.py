"""Which paragraphs ask for a picture.

The one idea: a sentence that describes something to be seen lies nearer to other such sentences than to statements
about ideas. Two small sets of sentences span that direction in whatever space the repository has, so that the scale is
the same in all of them: +1 is as visible as our scenes, -1 as abstract as our statements.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xcomp_composer.indexer_client.repository import RepositoryClient, Vectors

LONGEST_LIST = 24  # texts per paragraph; more would only repeat a very long one
_LONGEST_CHARACTERS = 2000  # no embedder reads further
_SENTENCES = {"en": re.compile(r"(?<=[.!?;:])[\"'”’)]*\s+"), "zh": re.compile(r"(?<=[。！？；])[”’」』）]*")}
_CLAUSES = {
    "en": re.compile(
        r"[.!?;:,()\u2014\u2013]+\s+|\s+(?:and|but|or|with|in|on|at|under|over|above|below|behind|between|beside|near|of|from"
        r"|to|by|for|into|across|along|through|around|where|which|that|while|as)\s+",
        re.IGNORECASE,
    ),
    "zh": re.compile(r"[，。；：！？、（）…—]+"),
}
_SHORTEST = {"en": 8, "zh": 4}  # characters; shorter pieces name nothing
_EDGES = " \t.,;:!?\"'“”‘’()（）「」『』，。；：！？、…—–"

SCENES = {
    "en": (
        "A red boat lies on the beach below the white cliffs.",
        "The kitchen table is set with bread, cheese and a bowl of apples.",
        "Two children run across the wet grass with a dog.",
        "Snow covers the roofs of the wooden houses in the valley.",
        "An old woman sells flowers at the market square.",
        "The cyclist leans his bicycle against a stone wall.",
        "Sunlight falls through the window on a grey cat.",
        "Tall buildings are mirrored in the river at night.",
    ),
    "zh": (
        "一条红色的小船停在白色悬崖下的沙滩上。",
        "厨房的桌子上摆着面包、奶酪和一碗苹果。",
        "两个孩子带着一条狗跑过湿漉漉的草地。",
        "雪盖住了山谷里木屋的屋顶。",
        "老奶奶在集市广场上卖花。",
        "骑车的人把自行车靠在石墙上。",
        "阳光透过窗户照在一只灰猫身上。",
        "夜晚，高楼倒映在河水里。",
    ),
}
STATEMENTS = {
    "en": (
        "Freedom means little to those who have never had to ask for it.",
        "The decision was postponed because nobody could agree on the terms.",
        "Most of what we call progress is a matter of habit.",
        "I began to doubt whether I had understood the question at all.",
        "It is easier to forgive a mistake than to admit one.",
        "The report recommends a more careful use of public money.",
        "What we remember depends on what we believe about ourselves.",
        "In theory the method is simple, but in practice it takes patience.",
    ),
    "zh": (
        "对从未失去过自由的人来说，自由没有多大意义。",
        "因为谁也无法就条件达成一致，决定被推迟了。",
        "我们所说的进步，多半只是习惯。",
        "我开始怀疑自己是否真的理解了这个问题。",
        "原谅一个错误，比承认一个错误容易。",
        "报告建议更谨慎地使用公共资金。",
        "我们记得什么，取决于我们怎样看待自己。",
        "这个方法在理论上很简单，做起来却需要耐心。",
    ),
}


def most_visible(
    paragraphs: Mapping[int, str], language: str, repository: RepositoryClient, *, count: int
) -> dict[int, str]:
    """Returns the paragraphs that describe most to be seen, in the order of the text."""
    language = language if language in SCENES else "en"
    scenes, statements = SCENES[language], STATEMENTS[language]
    vectors = repository.embed([*scenes, *statements, *paragraphs.values()])
    middle, end = len(scenes), len(scenes) + len(statements)
    seen = visibility(vectors[end:], scenes=vectors[:middle], statements=vectors[middle:end])
    ranked = sorted(zip(-seen, paragraphs, strict=True))[:count]
    kept = {segment for _, segment in ranked}
    return {segment: prose for segment, prose in paragraphs.items() if segment in kept}


def visibility(texts: Vectors, *, scenes: Vectors, statements: Vectors) -> NDArray[np.float64]:
    """Returns how much each text describes something to be seen, [B]: 1 as our scenes on average, -1 as our statements.

    Args:
        texts: [B, D].
        scenes: [N, D], of `SCENES` in the texts' language.
        statements: [N, D], of `STATEMENTS`.
    """
    middle = (scenes.mean(axis=0) + statements.mean(axis=0)) / 2
    half = (scenes.mean(axis=0) - statements.mean(axis=0)) / 2
    return np.asarray((texts - middle) @ half / max(float(half @ half), 1e-9))


def texts_of(paragraph: str, language: str) -> list[str]:
    """Returns the paragraph, its sentences and its clauses, each once, the paragraph first."""
    whole = paragraph[:_LONGEST_CHARACTERS]
    language = language if language in _CLAUSES else "en"
    pieces = [*_SENTENCES[language].split(whole), *_CLAUSES[language].split(whole)]
    named = (piece.strip(_EDGES) for piece in pieces)
    kept = dict.fromkeys(piece for piece in named if len(piece) >= _SHORTEST[language])
    kept.pop(whole.strip(_EDGES), None)
    return [whole, *kept][:LONGEST_LIST]
