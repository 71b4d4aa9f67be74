"""Reads prompts into the decoder: words and pictures as rows, the known beginning from the cache, the rest in chunks.

It knows units, rows and scores; what they mean is the tokenizer's and the caller's matter.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from xcomp_model.base import ModelError, Picture, Sampling, never
from xcomp_model.decoding import Path
from xcomp_model.xcomposer.architecture.build import (
    Network,
)
from xcomp_model.xcomposer.architecture.preprocess import pixel_values
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.runtime.kv_cache import (
    BatchedKVCache,
    GenerationCancelled,
    ImageFeatureCache,
    Prefix,
    PrefixCache,
)
from xcomp_model.xcomposer.runtime.memory_plan import kv_bytes
from xcomp_model.xcomposer.runtime.step_batcher import FifoLock, StepBatcher
from xcomp_model.xcomposer.tokenizer import Unit

_CHUNK = 512  # positions; cancellation is looked at between chunks


class OutOfMemory(ModelError):
    """There is no memory for this, though everything that was kept has been given back."""


class Runner:
    """A network with its caches. Several threads may read: passes take turns, and answers share theirs token by token.

    Attributes:
        positions_read: positions that went through the decoder so far; what the caches save is not in it.
    """

    def __init__(self, network: Network, place: DevicePlacement, *, features_bytes: int, prompts_bytes: int) -> None:
        """Args:
        network: the model.
        place: where it is.
        features_bytes: that rows of pictures may take.
        prompts_bytes: that keys and values may take, those of the prompt that is being read among them.
        """
        self._network = network
        self._place = place
        self._embedding = network.llm.model.embed_tokens
        self._features = ImageFeatureCache(self._encode, capacity_bytes=features_bytes)
        position_bytes = kv_bytes(network.llm.config, place.dtype)
        self._prefixes = PrefixCache(budget_bytes=prompts_bytes, position_bytes=position_bytes)
        self._turns = FifoLock()
        self._steps = StepBatcher(self._step)
        self.positions_read = 0

    @property
    def device(self) -> torch.device:
        """Where scores come out."""
        device: torch.device = self._network.llm.lm_head.weight.device
        return device

    @property
    def vocabulary(self) -> int:
        """How many scores come out."""
        count: int = self._network.llm.lm_head.out_features
        return count

    def rows_of(self, unit: Unit) -> int:
        """Positions that a unit takes."""
        return self._network.rows_per_image if isinstance(unit, Picture) else 1

    @contextmanager
    def reading(
        self, units: Sequence[Unit], *, more: int, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[Prefix, Tensor]]:
        """Reads a prompt; yields it with the scores [V] of what comes next. At the end it is kept.

        Args:
            units: the prompt.
            more: positions that may follow it.
            cancelled: whether nobody waits any more.

        Raises:
            Cancelled: between two chunks.
        """
        with self._prefixes.reading(units, more=more, rows_of=self.rows_of, cancelled=cancelled) as prefix:
            try:
                logits = self._feed(prefix, units[len(prefix.units) :], cancelled=cancelled)
            except OutOfMemory:
                prefix.clear()  # all that was kept has gone: once more beside nothing
                logits = self._feed(prefix, units, cancelled=cancelled)
            yield prefix, logits

    @contextmanager
    def drawing(self, prefix: Prefix) -> Iterator[Callable[[int], Tensor]]:
        """Yields the function that reads a token on and returns the scores [V] of what comes next.

        All who draw at the time share a pass.
        """
        with self._steps.member() as step:
            yield lambda token: step((prefix, token))

    def branch(self, prefix: Prefix, paths: Sequence[Path]) -> Tensor:
        """Reads several ways to go on at once; returns the scores [N, V] after each, and leaves the prefix as it was.

        The paths form a tree, whose nodes are read in one pass: each sees the prefix and its own ancestors.
        """
        nodes = sorted({path[:n] for path in paths for n in range(1, len(path) + 1)})
        rows = prefix.rows
        with self._guarded():
            embeds, _ = self._embed([node[-1] for node in nodes])
            self.positions_read += len(nodes)
            out = self._network.llm(
                inputs_embeds=embeds,
                attention_mask=_ancestors(nodes, rows=rows, like=embeds),
                position_ids=torch.tensor([[rows + len(node) - 1 for node in nodes]], device=embeds.device),
                cache=prefix.values,
                use_cache=True,
            )
            prefix.values.crop(-len(nodes))
        scores: Tensor = out.logits[0, [nodes.index(path) for path in paths]]
        return scores

    def search(
        self, units: Sequence[Unit], sampling: Sampling, *, ends: Sequence[int], cancelled: Callable[[], bool]
    ) -> list[int]:
        """Beam search after a prompt; returns the ids of the best answer."""
        with self._guarded():
            embeds, mask = self._embed(units)
            self.positions_read += embeds.shape[1]
            with self._marked(mask):
                return beam_search(self._network, embeds, sampling, ends=ends, cancelled=cancelled)

    def _feed(self, prefix: Prefix, units: Sequence[Unit], *, cancelled: Callable[[], bool]) -> Tensor:
        with self._guarded():
            embeds, mask = self._embed(units)
        logits = embeds
        for start in range(0, embeds.shape[1], _CHUNK):
            if cancelled():
                raise GenerationCancelled
            chunk = slice(start, start + _CHUNK)
            logits = self._forward(prefix, embeds[:, chunk], None if mask is None else mask[:, chunk])
        prefix.units += units
        return logits

    def _forward(self, prefix: Prefix, embeds: Tensor, mask: Tensor | None) -> Tensor:
        with self._guarded():
            self.positions_read += embeds.shape[1]
            with self._marked(mask):
                out = self._network.llm(inputs_embeds=embeds, cache=prefix.values, use_cache=True, logits_to_keep=1)
        logits: Tensor = out.logits[0, -1]
        return logits

    def _step(self, rows: Sequence[tuple[Prefix, int]]) -> Sequence[Tensor]:
        """Reads one token behind each of several prompts."""
        if len(rows) == 1:
            ((prefix, token),) = rows
            return [self._feed(prefix, [token], cancelled=never)]
        prefixes = [prefix for prefix, _ in rows]
        lengths = [prefix.rows for prefix in prefixes]
        with self._guarded():
            self.positions_read += len(rows)
            embeds, _ = self._embed([token for _, token in rows])
            embeds = embeds.transpose(0, 1)  # [B, 1, D]
            out = self._network.llm(
                inputs_embeds=embeds,
                attention_mask=_lengths(lengths, like=embeds),
                position_ids=torch.tensor(lengths, device=embeds.device)[:, None],
                cache=BatchedKVCache(prefixes),
                use_cache=True,
            )
        for prefix, token in rows:
            prefix.units.append(token)
        return list(out.logits[:, -1])

    def _marked(self, mask: Tensor | None) -> AbstractContextManager[None]:
        return nullcontext() if mask is None else self._network.image_rows(mask)

    def _embed(self, units: Sequence[Unit]) -> tuple[Tensor, Tensor | None]:
        """Returns rows [1, T, D], and [1, T], true where they are a picture's; None where there is none."""
        weight = self._embedding.weight
        rows = self._features.rows([unit for unit in units if isinstance(unit, Picture)])
        pieces, marks, run = [], [], list[int]()
        for unit in (*units, None):
            if isinstance(unit, int):
                run.append(unit)
                continue
            if run:
                pieces.append(self._embedding(torch.tensor(run, device=weight.device)))
                marks += [False] * len(run)
                run = []
            if unit is not None:
                pieces.append(rows[unit.key].to(weight.device, weight.dtype))
                marks += [True] * len(pieces[-1])
        mask = torch.tensor(marks, device=weight.device)[None] if any(marks) else None
        return torch.cat(pieces)[None], mask

    def _encode(self, pictures: Sequence[Picture]) -> Tensor:
        size = self._network.image_size
        pixels = torch.stack([pixel_values(picture, size=size) for picture in pictures])
        return self._network.encode_images(pixels.to(self._place.main, self._place.dtype))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._turns, torch.inference_mode():
                yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._prefixes.clear()
            self._features.clear()
            if self._place.device != "cpu":
                torch.cuda.empty_cache()
            raise OutOfMemory(
                f"out of memory on {self._place.device}: shorten the text or offer fewer pictures"
            ) from None


def beam_search(
    network: Network, embeds: Tensor, sampling: Sampling, *, ends: Sequence[int], cancelled: Callable[[], bool]
) -> list[int]:
    """Beam search as transformers does it, after rows [1, T, D]; returns the ids of the best answer."""
    ids = network.llm.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        num_beams=sampling.beams,
        do_sample=False,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        logits_processor=LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]),
        stopping_criteria=StoppingCriteriaList([_Until(cancelled)]),
    )
    return [int(i) for i in ids[0]]


def _ancestors(nodes: Sequence[Path], *, rows: int, like: Tensor) -> Tensor:
    """Returns [1, 1, N, rows + N]: 0 where a node sees, the least number where it does not."""
    mask = torch.zeros(1, 1, len(nodes), rows + len(nodes), dtype=like.dtype, device=like.device)
    for i, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if node[: len(other)] != other:
                mask[0, 0, i, rows + j] = torch.finfo(like.dtype).min
    return mask


def _lengths(lengths: Sequence[int], *, like: Tensor) -> Tensor:
    """Returns [B, 1, 1, T]: 0 where a row sees, itself included, the least number behind its end."""
    ends = torch.tensor(lengths, device=like.device)[:, None, None, None]
    places = torch.arange(max(lengths) + 1, device=like.device)
    return torch.zeros(like.shape[0], 1, 1, len(places), dtype=like.dtype, device=like.device).masked_fill(
        places > ends, torch.finfo(like.dtype).min
    )


class _Until(StoppingCriteria):
    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: torch.FloatTensor,  # noqa: ARG002
        **_: object,
    ) -> torch.BoolTensor:
        return torch.BoolTensor([self._cancelled()] * len(input_ids)).to(input_ids.device)  # type: ignore[return-value]  # torch types `to` wider


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
