"""Translates Chinese to English word by word, with the dictionary CC-CEDICT.

A run of Chinese characters is split into the fewest words that the dictionary has, and each word is replaced by its
first ordinary meaning. Our own table has the words whose first meaning is seldom the visible one, and the names of the
classes. Grammar is lost, which changes a sentence vector little. All other text stays. Does not depend on vectors.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# CJK unified ideographs with extension A, the compatibility block, and two signs that dictionary words contain.
_CHINESE_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff〇々]+")
_PUNCTUATION = str.maketrans("，。、；：？！（）《》「」『』“”‘’【】", ',.,;:?!()""""""""\'\'[]')
# traditional simplified [pinyin] /meaning/meaning; meaning/
_ENTRY = re.compile(r"(\S+) (\S+) \[([^\]]*)\] /(.*)/")

# Remarks about a word that are not translations.
_REMARK = re.compile(
    r"(CL:|prefix |suffix |((old|erroneous|archaic|Japanese) )?variant of |see |also (written|pr\.|called) "
    r"|abbr\. (of|for) |used (in|to|before|after|as) |surname |radical |classifier |particle\b|possessive )",
    re.IGNORECASE,
)
_RARE_SENSE = re.compile(
    r"\([^)]*\b(slang|dialect|coll\.|vulgar|archaic|old|literary|Internet|onom\.|euphemism)[^)]*\)"
)
# Names of small places and families with the spelling of everyday words: 大树 is a township and a big tree.
_UNLIKELY_NAME = re.compile(r"\b(township|county|district|prefecture|surname|village)\b", re.IGNORECASE)
_PARENTHESIS = re.compile(r"\([^)]*\)|\S*[\u3400-\u9fff][^\s\[]*(\[[^\]]*\])?|\[[^\]]*\]")

WORDS = Path(__file__).with_name("words_zh.tsv")
# Costs of a word: of our own table, of the dictionary, and a character that neither has.
_OWN_COST, _KNOWN_COST, _UNKNOWN_COST = 9, 10, 20

# 小的 is an adjective with its particle, though the dictionary has it as an old word for "I".
_ADJECTIVE = re.compile("(?!目的).的")
_NUMERALS = frozenset("一二两兩三四五六七八九十百千几幾半这這那数數")


class Dictionary:
    """CC-CEDICT in memory: traditional and simplified words with their English meanings.

    Args:
        content: the gzip file of the dictionary, as published.
        names: Chinese names of things with their English ones.
    """

    def __init__(self, content: bytes, names: Mapping[str, str]) -> None:
        self._own: dict[str, str | None] = {**names, **_read_own_words()}  # None: not a word
        self._entries = dict[str, str]()  # word -> a line `pinyin<tab>meaning/meaning` for each reading
        for line in gzip.decompress(content).decode("utf-8").splitlines():
            if entry := _ENTRY.match(line):
                traditional, simplified, pinyin, meanings = entry.groups()
                for word in {traditional, simplified}:
                    self._entries[word] = f"{self._entries.get(word, '')}{pinyin}\t{meanings}\n"
                if simplified in self._own:
                    self._own.setdefault(traditional, self._own[simplified])
        self._longest = max(map(len, (*self._entries, *self._own)))

    def translate(self, text: str) -> str:
        """Returns the text with every run of Chinese replaced by English words."""
        if not _CHINESE_RUN.search(text):
            return text
        translated = _CHINESE_RUN.sub(lambda run: f" {self._translate_run(run.group())} ", text)
        return " ".join(translated.translate(_PUNCTUATION).split())

    def segment(self, run: str) -> list[str]:
        """Splits a run of Chinese into the fewest known words; a character of no known word is a word of its own."""
        # costs[i]: the lowest cost of run[i:]. Of equal costs the longer word comes last, where Chinese has the noun.
        costs, lengths = [0] * (len(run) + 1), [1] * len(run)
        for start in range(len(run) - 1, -1, -1):
            costs[start] = costs[start + 1] + self._cost(run[start])
            for length in range(2, min(self._longest, len(run) - start) + 1):
                word = run[start : start + length]
                cost = costs[start + length] + self._cost(word)
                if cost < costs[start] and self.meaning(word) is not None:
                    costs[start], lengths[start] = cost, length
        words, start = [], 0
        while start < len(run):
            words.append(run[start : start + lengths[start]])
            start += lengths[start]
        return words

    def meaning(self, word: str) -> str | None:
        """Returns the first ordinary meaning of a word, empty if it has none; None if it is not an everyday word."""
        if word in self._own:
            return self._own[word]
        if word not in self._entries or _ADJECTIVE.fullmatch(word):
            return None
        readings = [line.split("\t") for line in self._entries[word].splitlines()]
        # The dictionary capitalises the reading of names. Of other readings, the one with most meanings is in use.
        ordinary = [meanings for pinyin, meanings in readings if not pinyin[:1].isupper()]
        ordinary.sort(key=lambda meanings: meanings.count("/"), reverse=True)
        if ordinary:
            return _first_translation(_split_meanings(ordinary)) or ""
        names = (
            name for name in _split_meanings(meanings for _, meanings in readings) if not _UNLIKELY_NAME.search(name)
        )
        name = _first_translation(names)
        return name.partition(",")[0] if name else None

    def _translate_run(self, run: str) -> str:
        words = self.segment(run)
        kept = [word for i, word in enumerate(words) if not (i and self._is_counter(words[i - 1], word))]
        return " ".join(filter(None, (self.meaning(word) for word in kept)))

    def _cost(self, word: str) -> int:
        if self._own.get(word) is not None:
            return _OWN_COST
        return _KNOWN_COST if word in self._entries else _UNKNOWN_COST

    def _is_counter(self, before: str, word: str) -> bool:
        return before[-1] in _NUMERALS and len(word) == 1 and "classifier" in self._entries.get(word, "")


def _read_own_words() -> dict[str, str | None]:
    rows = (line.split("\t") for line in WORDS.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {word: None if english == "-" else english for english, words in rows for word in words.split()}


def _split_meanings(lists: Iterable[str]) -> Iterator[str]:
    for meanings in lists:
        yield from (meaning.strip() for part in meanings.split("/") for meaning in part.split(";"))


def _first_translation(meanings: Iterable[str]) -> str | None:
    """Returns the first meaning that is a translation; a rare sense only if there is no other."""
    rare = None
    for meaning in meanings:
        plain = " ".join(_PARENTHESIS.sub(" ", meaning).split()).removeprefix("to ")
        if not plain or _REMARK.match(meaning) or _REMARK.match(plain):
            continue
        if not _RARE_SENSE.search(meaning):
            return plain
        rare = rare or plain
    return rare
