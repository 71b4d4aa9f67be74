"""CLIP's own tokenizer: byte pairs over lower-case text (Radford et al., arXiv:2103.00020, section 2.4).

Tokens are those of `SimpleTokenizer` in open_clip/tokenizer.py. Its vocabulary, `bpe_simple_vocab_16e6.txt.gz`, lies
beside this file with the licence of OpenAI's CLIP, from which it comes.
"""

import gzip
import html
import re
from collections.abc import Sequence
from pathlib import Path

import ftfy
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Chain

from xcomp_indexer.embed.clip.windows import Windows, cut_windows
from xcomp_indexer.embed.weights import cache

VOCABULARY = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
_SIZE = 49408  # 256 bytes alone and 256 at the end of a word, the merges, two marks
_MERGES = _SIZE - 2 * 256 - 2
_END_OF_WORD = "</w>"
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
# A mark that is written in a text is left out, because the model would obey it. Behind other signs it is signs as well.
_MARK = re.compile(r"(?<![^\s\w])(?<!_)(?:<start_of_text>|<end_of_text>)")
# Merging takes quadratic time; a run of this length is not a word.
_ENDLESS = re.compile(r"(\S{64})(?=\S)")


class BytePairTokenizer:
    """Turns texts into windows of `length` tokens."""

    size = _SIZE

    def __init__(self, length: int) -> None:
        self._tokenizer, self._length = _build_tokenizer(), length
        self.digest = cache.sha256(VOCABULARY)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in as many windows as they need; may be called from several threads."""
        clean = [_clean(_ENDLESS.sub(r"\1 ", text)) for text in texts]
        tokens = [each.ids for each in self._tokenizer.encode_batch(clean, add_special_tokens=False)]
        return cut_windows(tokens, length=self._length, marks=(_SIZE - 2, _SIZE - 1), padded_to=self._length)


def _clean(text: str) -> str:
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    text = " ".join(text.split()).lower()
    return _MARK.sub(" ", text)


def _build_tokenizer() -> Tokenizer:
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    letters = _list_byte_letters()
    words = [*letters, *(letter + _END_OF_WORD for letter in letters), *(first + second for first, second in merges)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=_END_OF_WORD))
    pieces = Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = Chain([pieces, ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def _list_byte_letters() -> list[str]:
    """Returns the letter of each byte in the order of the vocabulary: visible ones stand for themselves and come first.

    The scheme of GPT-2's byte-level vocabulary (Radford et al. 2019, section 2.2).
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(visible)
    return [*map(chr, visible), *(chr(256 + number) for number in range(hidden))]
