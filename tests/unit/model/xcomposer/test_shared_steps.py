"""Simultaneous answers: equal to those of single calls, within the same memory, and independent of each other."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from tests.checkpoints import write_checkpoint
from xcomp_composer.model_pool.pool import EndpointConfig, LocalRuntime, ModelPool
from xcomp_model import load
from xcomp_model.base import Brief, Prompt, Runtime, Sampling, never
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.kv_cache import BatchedKVCache, Prefix
from xcomp_model.xcomposer.tokenizer import Unit

AT_ONCE = 8


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(request.param, tmp_path_factory.mktemp("tiny"))


def open_model(folder: Path) -> XComposer:
    model = load(str(folder), Runtime(device="cpu", precision="fp32"))
    assert isinstance(model, XComposer)
    return model


def request(model: XComposer, number: int, *, tokens: int = 30) -> tuple[Prompt, Sampling]:
    """Prompts differ in length, and every other answer is greedy; the penalty keeps them from ending at once."""
    prompt = model.prompts.write(Brief("a cat on a mat and a dog " * (number + 1)))
    heat = 2.0 if number % 2 else 0.0
    return prompt, Sampling(temperature=heat, repetition_penalty=3.0, seed=number, max_new_tokens=tokens)


def answer(model: XComposer, number: int, is_cancelled: Callable[[], bool] = never) -> list[str]:
    return list(model.stream(*request(model, number), is_cancelled=is_cancelled))


def at_once(work: Callable[[int], list[str]]) -> list[list[str]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, range(AT_ONCE)))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[XComposer], list[int]]:
    """Records how many answers each pass serves."""

    def watch(model: XComposer) -> list[int]:
        llm, sizes = model._runner._network.llm, list[int]()
        forward = llm.forward

        def watch_forward(*, inputs_embeds: torch.Tensor, **given: object) -> object:
            sizes.append(len(inputs_embeds))
            return forward(inputs_embeds=inputs_embeds, **given)

        monkeypatch.setattr(llm, "forward", watch_forward)
        return sizes

    return watch


def test_simultaneous_answers_equal_those_of_a_single_call(
    folder: Path, passes: Callable[[XComposer], list[int]]
) -> None:
    together, alone = open_model(folder), open_model(folder)
    sizes = passes(together)
    answers = at_once(lambda number: answer(together, number))
    assert answers == [answer(alone, number) for number in range(AT_ONCE)]
    assert sum(len(answer) > 10 for answer in answers) >= 3  # long enough to share passes
    assert max(sizes) >= 3


def test_a_shared_pass_gives_every_row_the_scores_of_its_own_pass(folder: Path) -> None:
    runner = open_model(folder)._runner
    prompts: list[list[Unit]] = [list(range(5, 5 + length)) for length in (40, 3, 17, 1)]

    @contextmanager
    def read(units: Sequence[Unit]) -> Iterator[Prefix]:
        with runner.read_prompt(units, more=3, is_cancelled=never) as (prefix, _):
            yield prefix

    with read(prompts[0]) as a, read(prompts[1]) as b, read(prompts[2]) as c, read(prompts[3]) as d:
        shared = [runner._step([(prefix, 9) for prefix in (a, b, c, d)]) for _ in range(3)][-1]
        assert [prefix.rows for prefix in (a, b, c, d)] == [len(units) + 3 for units in prompts]
    for units, scores in zip(prompts, shared, strict=True):
        with runner.read_prompt([*units, 9, 9, 9], more=0, is_cancelled=never) as (_, alone):
            torch.testing.assert_close(scores, alone, atol=1e-4, rtol=1e-4)


def test_a_cancelled_answer_ends_within_a_token_and_the_others_continue(folder: Path) -> None:
    together, alone = open_model(folder), open_model(folder)
    cancel_checks = iter([False] * 6)
    answers = at_once(
        lambda number: answer(together, number, (lambda: next(cancel_checks, True)) if number == 0 else never)
    )
    expected = [answer(alone, number) for number in range(AT_ONCE)]
    assert answers[1:] == expected[1:]
    assert answers[0] == expected[0][: len(answers[0])]
    assert len(answers[0]) <= 6
    assert together._runner._prefixes._reserved == 0


def test_simultaneous_answers_stay_within_the_budget_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(folder)
    prefixes, llm = model._runner._prefixes, model._runner._network.llm
    longest = max(model.count_tokens(request(model, number)[0]) for number in range(AT_ONCE)) + 30
    prefixes._capacity = 2 * longest
    reserve, forward = prefixes.reserve, llm.forward
    live, seen = list[Prefix](), list[int]()

    @contextmanager
    def record(*given: object, **named: object) -> Iterator[Prefix]:
        with reserve(*given, **named) as prefix:  # type: ignore[arg-type]  # arguments are passed through
            live.append(prefix)
            try:
                yield prefix
            finally:
                live.remove(prefix)

    def watch_forward(**given: object) -> object:
        out = forward(**given)
        tensors = [tensor for each in (*prefixes._cached, *live) for _, *both in each.layers() for tensor in both]
        seen.append(sum(tensor.untyped_storage().nbytes() for tensor in tensors))
        return out

    monkeypatch.setattr(prefixes, "reserve", record)
    monkeypatch.setattr(llm, "forward", watch_forward)
    at_once(lambda number: answer(model, number))
    budget = 2 * longest * prefixes._position_bytes
    assert 0.5 * budget < max(seen) <= budget


def test_the_composer_admits_as_many_calls_as_the_model_serves(folder: Path) -> None:
    served = ModelPool(EndpointConfig(), LocalRuntime(device="cpu"), allowed={"*"}).load_chat(
        str(folder), "clip", lambda: 60.0
    )
    with ExitStack() as calls:
        for _ in range(AT_ONCE):
            calls.enter_context(served.queue.enter(lambda: 1.0))
        with pytest.raises(TimeoutError), served.queue.enter(_give_up):
            pass


def _give_up() -> float:
    raise TimeoutError


def test_batched_caches_are_padded_with_zeros() -> None:
    prefixes = [Prefix(kv=DynamicCache()) for _ in range(2)]
    prefixes[0].kv.update(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3), 0)
    new = torch.full((2, 1, 1, 3), 5.0)
    keys, values = BatchedKVCache(prefixes).update(new, new, 0)
    assert keys[:, 0, :, 0].tolist() == values[:, 0, :, 0].tolist() == [[1, 1, 5], [5, 0, 0]]
    assert [prefix.rows for prefix in prefixes] == [3, 1]
