"""The tokenizers of open_clip, which here return windows instead of a truncated text.

The tokens are those of the library. Special marks within a text stay characters, and no text is truncated.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from open_clip.tokenizer import (  # type: ignore[import-untyped]  # it ships no types
    HFTokenizer,
    SimpleTokenizer,
    default_bpe,
)

from xcomp_indexer.embed.clip.embedder import Config
from xcomp_indexer.embed.clip.openclip_config import TOKENIZER_FILES
from xcomp_indexer.embed.clip.windows import Windows, cut_windows
from xcomp_indexer.embed.weights import cache
from xcomp_indexer.embed.weights.cache import ModelSource
from xcomp_protos.errors import ModelError

_CONTEXT = 77  # the library's default: open_clip/constants.py and CLIPTextCfg
# The byte-pair merging of the library takes quadratic time; a run of this length is not a word.
_ENDLESS = re.compile(r"(\S{64})(?=\S)")


class TextTokenizer(Protocol):
    """Turns texts into tokens."""

    digest: str
    size: int  # ids are below it

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in as many windows as they need; may be called from several threads."""


class BytePairs:
    """CLIP's own vocabulary, which comes with the library."""

    def __init__(self, text_config: Config) -> None:
        self._tokenizer = SimpleTokenizer(**_options_of(text_config))
        self._length = int(str(text_config.get("context_length", _CONTEXT)))
        self._marks = (self._tokenizer.sot_token_id, self._tokenizer.eot_token_id)
        self.digest = cache.sha256(Path(default_bpe()))
        self.size = int(self._tokenizer.vocab_size)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts; a start or end mark within a text is left out, because the model would obey it."""
        tokens = [
            [token for token in self._tokenizer.encode(_ENDLESS.sub(r"\1 ", text)) if token not in self._marks]
            for text in texts
        ]
        return cut_windows(tokens, length=self._length, marks=self._marks, padded_to=self._length)


class HubTokenizer:
    """A tokenizer in the hub's format, used as `HFTokenizer` of the library uses it."""

    def __init__(self, folder: Path, text_config: Config) -> None:
        kwargs = {"trust_remote_code": False, "local_files_only": True, **_options_of(text_config)}
        self._library = HFTokenizer(str(folder), **kwargs)
        self._length = int(str(text_config.get("context_length", _CONTEXT)))
        self._lock = threading.Lock()  # the tokenizer keeps truncation and padding as its state
        files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
        self.digest = cache.combine([part for file in files for part in (file.name, cache.sha256(file))])
        self.size = len(self._library.tokenizer)

    def windows(self, texts: Sequence[str]) -> Windows:
        """Tokenises texts in windows of the library's length."""
        with self._lock:
            encoded = self._library.tokenizer(
                [self._library.clean_fn(text) for text in texts],
                max_length=self._length,
                padding="max_length",
                truncation=True,
                return_overflowing_tokens=True,
                split_special_tokens=True,
                return_tensors="np",
            )
        input_ids = encoded["input_ids"].astype(np.int64)
        if self._library.strip_sep_token:
            input_ids = np.where(input_ids == self._library.tokenizer.sep_token_id, 0, input_ids)
        lengths = encoded["attention_mask"].sum(axis=1).tolist()
        return Windows(input_ids, encoded["overflow_to_sample_mapping"].tolist(), lengths)


def load(source: ModelSource, text_config: Config) -> TextTokenizer:
    """Loads the tokenizer that the configuration of a text network names.

    Raises:
        ModelError: its files are missing, or its kind is not supported here.
    """
    name = str(text_config.get("hf_tokenizer_name") or "")
    if not name:
        return BytePairs(text_config)
    if text_config.get("tokenizer_mode"):
        raise ModelError(f"{source.model} is not supported: its tokenizer has mode {text_config['tokenizer_mode']}")
    home = source if any(map(source.has, TOKENIZER_FILES)) else source.beside(name)
    return HubTokenizer(home.find(*TOKENIZER_FILES).parent, text_config)


def _options_of(text_config: Config) -> dict[str, object]:
    kwargs = text_config.get("tokenizer_kwargs") or {}
    if not isinstance(kwargs, dict):
        raise ValueError("tokenizer_kwargs in its configuration are not an object")
    return kwargs
