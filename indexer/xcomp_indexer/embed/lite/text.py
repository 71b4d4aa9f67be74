"""all-MiniLM-L6-v2: English sentences to unit vectors.

A text that is longer than the model's window is read in windows and averaged over all tokens. The model understands
English only.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.embed.engine.openvino import CompiledNetwork, Precision
from xcomp_indexer.embed.lite import sentence_graph
from xcomp_indexer.embed.vectors import normalize
from xcomp_indexer.embed.weights.state import read_weights

_WIDTH = 384
# The model was trained on 128 tokens, two of them the marks around a text.
_WINDOW = 126
# Bounds the memory of one forward pass; sentences of similar length share a batch.
_BATCH_WINDOWS = 32


class SentenceEncoder:
    """MiniLM in memory."""

    def __init__(self, weights: Path, tokenizer: Path, *, precision: Precision = "fp32") -> None:
        self._network = CompiledNetwork(sentence_graph.build(read_weights(weights)), precision=precision)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text stays five characters
        vocabulary = self._tokenizer.get_vocab()
        self._start, self._end = vocabulary["[CLS]"], vocabulary["[SEP]"]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Returns unit vectors `[B, 384]`."""
        windows, owners = self._windows(texts)
        sums = np.zeros((len(texts), _WIDTH), np.float32)
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        for start in range(0, len(order), _BATCH_WINDOWS):
            picked = order[start : start + _BATCH_WINDOWS]
            np.add.at(sums, [owners[i] for i in picked], self._sum_tokens([windows[i] for i in picked]))
        return normalize(sums)  # the mean over tokens has the direction of their sum

    def _windows(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        clean = [
            text.encode("utf-8", "replace").decode("utf-8") for text in texts
        ]  # no tokenizer takes lone surrogates
        windows, owners = [], []
        for owner, encoding in enumerate(self._tokenizer.encode_batch(clean, add_special_tokens=False)):
            for start in range(0, max(len(encoding.ids), 1), _WINDOW):
                windows.append([self._start, *encoding.ids[start : start + _WINDOW], self._end])
                owners.append(owner)
        return windows, owners

    def _sum_tokens(self, windows: Sequence[Sequence[int]]) -> Vectors:
        input_ids = np.zeros((len(windows), max(map(len, windows))), np.int32)
        attention_mask = np.zeros(input_ids.shape, np.float32)
        for row, window in enumerate(windows):
            input_ids[row, : len(window)] = window
            attention_mask[row, : len(window)] = 1
        return self._network(input_ids, attention_mask)[0]
