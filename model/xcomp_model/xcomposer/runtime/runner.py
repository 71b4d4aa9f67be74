"""Runs the network: reads prompts in chunks behind their cached prefix, and decodes answers token by token.

It works on units, rows and scores, and does not depend on what they mean.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from xcomp_model.base import CancelCheck, ImagePart, ModelFailure, Sampling, never
from xcomp_model.decoding import TokenPath
from xcomp_model.xcomposer.architecture.build import Network
from xcomp_model.xcomposer.architecture.preprocess import pixel_values
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.runtime.kv_cache import (
    BatchedKVCache,
    GenerationCancelled,
    ImageFeatureCache,
    Prefix,
    PrefixCache,
)
from xcomp_model.xcomposer.runtime.memory_plan import kv_bytes_per_position
from xcomp_model.xcomposer.runtime.step_batcher import FifoLock, StepBatcher
from xcomp_model.xcomposer.tokenizer import Unit

_CHUNK = 512  # positions; cancellation is checked between chunks


class OutOfMemory(ModelFailure):
    """There is not enough memory, even with empty caches."""


class Runner:
    """A network with its caches. Several threads may use it: passes take turns, and decoding steps are batched.

    Attributes:
        positions_read: positions that the decoder has read so far, without those that the caches saved.
    """

    def __init__(
        self, network: Network, placement: DevicePlacement, *, features_bytes: int, prompts_bytes: int
    ) -> None:
        """Args:
        network: the model.
        placement: its device and dtype.
        features_bytes: memory for cached rows of images.
        prompts_bytes: memory for keys and values, including those of the prompts that are being read.
        """
        self._network = network
        self._placement = placement
        self._embedding = network.llm.model.embed_tokens
        self._features = ImageFeatureCache(self._encode_images, capacity_bytes=features_bytes)
        position_bytes = kv_bytes_per_position(network.llm.config, placement.dtype)
        self._prefixes = PrefixCache(budget_bytes=prompts_bytes, position_bytes=position_bytes)
        self._turns = FifoLock()
        self._steps = StepBatcher(self._step)
        self.positions_read = 0

    @property
    def device(self) -> torch.device:
        """The device of the scores."""
        device: torch.device = self._network.llm.lm_head.weight.device
        return device

    @property
    def vocabulary(self) -> int:
        """The number of scores at a position."""
        count: int = self._network.llm.lm_head.out_features
        return count

    def count_rows(self, unit: Unit) -> int:
        """Counts the positions of a unit."""
        return self._network.rows_per_image if isinstance(unit, ImagePart) else 1

    @contextmanager
    def read_prompt(
        self, units: Sequence[Unit], *, more: int, is_cancelled: CancelCheck
    ) -> Iterator[tuple[Prefix, Tensor]]:
        """Reads a prompt; yields it with the scores [V] of the next token, and caches it at the end.

        Args:
            units: the prompt.
            more: positions that may follow it.
            is_cancelled: whether the caller has left; checked between chunks.

        Raises:
            GenerationCancelled: the caller has left.
        """
        with self._prefixes.reserve(units, more=more, count_rows=self.count_rows, is_cancelled=is_cancelled) as prefix:
            try:
                logits = self._feed(prefix, units[len(prefix.units) :], is_cancelled=is_cancelled)
            except OutOfMemory:
                prefix.clear()  # the caches are empty now: try once more
                logits = self._feed(prefix, units, is_cancelled=is_cancelled)
            yield prefix, logits

    @contextmanager
    def join_batch(self, prefix: Prefix) -> Iterator[Callable[[int], Tensor]]:
        """Yields a function that reads the next token of an answer and returns the scores [V] of the one after it.

        Answers that are decoded at the same time share their passes.
        """
        with self._steps.join() as step:
            yield lambda token: step((prefix, token))

    def branch(self, prefix: Prefix, paths: Sequence[TokenPath]) -> Tensor:
        """Reads several continuations at once; returns the scores [N, V] after each. The prefix stays as it was.

        The paths form a tree whose nodes are read in one pass: each node sees the prefix and its own ancestors.
        """
        nodes = sorted({path[:n] for path in paths for n in range(1, len(path) + 1)})
        rows = prefix.rows
        with self._take_turn():
            embeds, _ = self._embed([node[-1] for node in nodes])
            self.positions_read += len(nodes)
            out = self._network.llm(
                inputs_embeds=embeds,
                attention_mask=_ancestor_mask(nodes, rows=rows, like=embeds),
                position_ids=torch.tensor([[rows + len(node) - 1 for node in nodes]], device=embeds.device),
                cache=prefix.kv,
                use_cache=True,
            )
            prefix.kv.crop(-len(nodes))
        scores: Tensor = out.logits[0, [nodes.index(path) for path in paths]]
        return scores

    def search(
        self, units: Sequence[Unit], sampling: Sampling, *, ends: Sequence[int], is_cancelled: CancelCheck
    ) -> list[int]:
        """Runs a beam search after a prompt; returns the ids of the best answer."""
        with self._take_turn():
            embeds, mask = self._embed(units)
            self.positions_read += embeds.shape[1]
            with self._mark_images(mask):
                return beam_search(self._network, embeds, sampling, ends=ends, is_cancelled=is_cancelled)

    def _feed(self, prefix: Prefix, units: Sequence[Unit], *, is_cancelled: CancelCheck) -> Tensor:
        with self._take_turn():
            embeds, mask = self._embed(units)
        logits = embeds
        for start in range(0, embeds.shape[1], _CHUNK):
            if is_cancelled():
                raise GenerationCancelled
            chunk = slice(start, start + _CHUNK)
            logits = self._forward(prefix, embeds[:, chunk], None if mask is None else mask[:, chunk])
        prefix.units += units
        return logits

    def _forward(self, prefix: Prefix, embeds: Tensor, mask: Tensor | None) -> Tensor:
        with self._take_turn():
            self.positions_read += embeds.shape[1]
            with self._mark_images(mask):
                out = self._network.llm(inputs_embeds=embeds, cache=prefix.kv, use_cache=True, logits_to_keep=1)
        logits: Tensor = out.logits[0, -1]
        return logits

    def _step(self, rows: Sequence[tuple[Prefix, int]]) -> Sequence[Tensor]:
        """Reads one token of each of several answers."""
        if len(rows) == 1:
            ((prefix, token),) = rows
            return [self._feed(prefix, [token], is_cancelled=never)]
        prefixes = [prefix for prefix, _ in rows]
        lengths = [prefix.rows for prefix in prefixes]
        with self._take_turn():
            self.positions_read += len(rows)
            embeds, _ = self._embed([token for _, token in rows])
            embeds = embeds.transpose(0, 1)  # [B, 1, D]
            out = self._network.llm(
                inputs_embeds=embeds,
                attention_mask=_length_mask(lengths, like=embeds),
                position_ids=torch.tensor(lengths, device=embeds.device)[:, None],
                cache=BatchedKVCache(prefixes),
                use_cache=True,
            )
        for prefix, token in rows:
            prefix.units.append(token)
        return list(out.logits[:, -1])

    def _mark_images(self, mask: Tensor | None) -> AbstractContextManager[None]:
        return nullcontext() if mask is None else self._network.image_rows(mask)

    def _embed(self, units: Sequence[Unit]) -> tuple[Tensor, Tensor | None]:
        """Returns rows [1, T, D], and a mask [1, T] of the rows of images or None without images."""
        weight = self._embedding.weight
        rows = self._features.get([unit for unit in units if isinstance(unit, ImagePart)])
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

    def _encode_images(self, images: Sequence[ImagePart]) -> Tensor:
        size = self._network.image_size
        pixels = torch.stack([pixel_values(image, size=size) for image in images])
        return self._network.encode_images(pixels.to(self._placement.main, self._placement.dtype))

    @contextmanager
    def _take_turn(self) -> Iterator[None]:
        """Waits for the network; empties the caches if its pass runs out of memory."""
        try:
            with self._turns, torch.inference_mode():
                yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._prefixes.clear()
            self._features.clear()
            if self._placement.device != "cpu":
                torch.cuda.empty_cache()
            raise OutOfMemory(
                f"out of memory on {self._placement.device}: shorten the text or offer fewer images"
            ) from None


def beam_search(
    network: Network, embeds: Tensor, sampling: Sampling, *, ends: Sequence[int], is_cancelled: CancelCheck
) -> list[int]:
    """Runs the beam search of transformers after rows [1, T, D]; returns the ids of the best answer."""
    ids = network.llm.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        num_beams=sampling.beams,
        do_sample=False,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(ends),
        pad_token_id=ends[0],
        logits_processor=LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]),
        stopping_criteria=StoppingCriteriaList([_StopWhenCancelled(is_cancelled)]),
    )
    return [int(i) for i in ids[0]]


def _ancestor_mask(nodes: Sequence[TokenPath], *, rows: int, like: Tensor) -> Tensor:
    """Returns [1, 1, N, rows + N]: 0 where a node sees a position, the smallest number elsewhere."""
    mask = torch.zeros(1, 1, len(nodes), rows + len(nodes), dtype=like.dtype, device=like.device)
    for i, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if node[: len(other)] != other:
                mask[0, 0, i, rows + j] = torch.finfo(like.dtype).min
    return mask


def _length_mask(lengths: Sequence[int], *, like: Tensor) -> Tensor:
    """Returns [B, 1, 1, T]: 0 up to and including the new position of a row, the smallest number behind it."""
    ends = torch.tensor(lengths, device=like.device)[:, None, None, None]
    positions = torch.arange(max(lengths) + 1, device=like.device)
    return torch.zeros(like.shape[0], 1, 1, len(positions), dtype=like.dtype, device=like.device).masked_fill(
        positions > ends, torch.finfo(like.dtype).min
    )


class _StopWhenCancelled(StoppingCriteria):
    def __init__(self, is_cancelled: CancelCheck) -> None:
        self._cancelled = is_cancelled

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: torch.FloatTensor,  # noqa: ARG002
        **_: object,
    ) -> torch.BoolTensor:
        return torch.BoolTensor([self._cancelled()] * len(input_ids)).to(input_ids.device)  # type: ignore[return-value]  # torch types `to` wider


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
