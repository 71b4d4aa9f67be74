"""all-MiniLM-L6-v2: English sentences to unit vectors.

A BERT encoder (Devlin et al., arXiv:1810.04805) whose token vectors are averaged (Reimers & Gurevych,
arXiv:1908.10084). It is written out here because importing a model library takes longer than loading this model. It
understands English only.
"""

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load as load_safetensors
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

_LAYERS, _HEADS, _EPS = 6, 12, 1e-12
# The model was trained on 128 tokens, two of them the marks around a text.
_WINDOW = 126
# Bounds the memory of one forward pass; sentences of similar length share a batch.
_BATCH_WINDOWS = 32


class SentenceEncoder:
    """MiniLM in memory; a text longer than its window is read in windows and averaged over all tokens."""

    def __init__(self, weights: bytes, tokenizer: bytes) -> None:
        self._state = _transpose_weights(load_safetensors(weights))
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text stays five characters
        vocabulary = self._tokenizer.get_vocab()
        self._start, self._end = vocabulary["[CLS]"], vocabulary["[SEP]"]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Returns unit vectors `[B, 384]`."""
        windows, owners = self._windows(texts)
        sums = torch.zeros(len(texts), self._state["embeddings.word_embeddings.weight"].shape[1])
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        for start in range(0, len(order), _BATCH_WINDOWS):
            picked = order[start : start + _BATCH_WINDOWS]
            sums.index_add_(0, torch.tensor([owners[i] for i in picked]), self._sums([windows[i] for i in picked]))
        return functional.normalize(sums, dim=-1)  # the mean over tokens has the direction of their sum

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

    def _sums(self, windows: Sequence[Sequence[int]]) -> Tensor:
        length = max(len(window) for window in windows)
        input_ids = torch.tensor([[*window, *[0] * (length - len(window))] for window in windows])
        attention_mask = torch.tensor([[1.0] * len(window) + [0.0] * (length - len(window)) for window in windows])
        return (self._forward(input_ids, attention_mask.bool()) * attention_mask[:, :, None]).sum(dim=1)

    def _forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # [B, T] -> [B, T, D]
        w = self._state
        x = w["embeddings.word_embeddings.weight"][input_ids]
        x = x + w["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for index in range(_LAYERS):
            layer = f"encoder.layer.{index}"
            # In place: the system maps new pages for a new tensor of this size, which costs as much as the sum.
            x = self._norm(self._attend(x, attention_mask, layer).add_(x), f"{layer}.attention.output.LayerNorm")
            hidden = torch.ops.aten.gelu_(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(self._linear(hidden, f"{layer}.output.dense").add_(x), f"{layer}.output.LayerNorm")
        return x

    def _attend(self, x: Tensor, mask: Tensor, layer: str) -> Tensor:
        q, k, v = (
            self._linear(x, f"{layer}.attention.self.{part}").view(*x.shape[:2], _HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )  # [B, H, T, D / H]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self._linear(mixed.transpose(1, 2).flatten(-2), f"{layer}.attention.output.dense")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self._state[f"{name}.weight"], self._state[f"{name}.bias"], _EPS)


def _transpose_weights(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Transposes the weights of linear layers in memory, the order that a CPU reads fastest; values stay the same."""
    linear = {name for name, value in state.items() if value.dim() == 2 and not name.startswith("embeddings.")}
    return {name: value.t().contiguous().t() if name in linear else value for name, value in state.items()}
