"""Both versions of the model behind the seam, on made-up checkpoints in the released formats."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.checkpoints import write_checkpoint
from xcomp_model import load
from xcomp_model.base import Brief, ModelError, Picture, Prompt, Runtime, Sampling, Section, Template, Text, Turn
from xcomp_model.selection import select
from xcomp_model.xcomposer.architecture import build
from xcomp_model.xcomposer.architecture.preprocess import pixel_values
from xcomp_model.xcomposer.model import XComposer
from xcomp_model.xcomposer.runtime.device import DevicePlacement
from xcomp_model.xcomposer.runtime.kv_cache import ImageFeatureCache
from xcomp_model.xcomposer.weights import convert

PLACE = DevicePlacement("cpu", torch.float32)
ARTICLE = ["a cat on a mat", "the dog and the 1", "a third one"]


def _noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 40 + 10 * seed, (40, 50, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = [Picture(f"p{i}", _noise(i)) for i in range(20)]


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(request.param, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> XComposer:
    loaded = load(str(folder))
    assert isinstance(loaded, XComposer)
    return loaded


def sections(count: int, *, pictures: Sequence[Picture] = ()) -> list[Section]:
    placed = [*pictures, *([None] * (count - len(pictures)))]
    return [Section(f"section {i} of a cat", picture) for i, picture in enumerate(placed[:count])]


def said(model: XComposer, prompt: Prompt, sampling: Sampling) -> str:
    return "".join(model.stream(prompt, sampling))


def test_the_stages_run_through(model: XComposer) -> None:
    prompts = model.prompts
    answer = said(model, prompts.spot(ARTICLE, count=1), prompts.sampling("spot"))
    assert prompts.spots_in(answer, sections=3) == (1,)
    answer = said(model, prompts.query(ARTICLE, 1, earlier=[(0, "a mat")]), prompts.sampling("query"))
    assert prompts.query_in(answer) == "cat"
    assert said(model, prompts.chat([Turn("user", "hello?", (PICTURES[0],))]), prompts.sampling("chat"))
    assert said(model, prompts.describe(PICTURES[0], language="en"), prompts.sampling("describe"))
    assert said(model, prompts.write(Brief("cats")), Sampling(max_new_tokens=5))
    assert said(model, prompts.edit("expand", ARTICLE, 1, hint="dogs"), Sampling(max_new_tokens=5))


def test_a_choice_has_a_probability_for_every_option(model: XComposer) -> None:
    choice = model.choose(model.prompts.choose(sections(2), PICTURES[:4]), "ABCD")
    assert sum(choice.probabilities) == pytest.approx(1)
    assert 0.5 < choice.mass <= 1


def test_pictures_and_words_move_a_choice(model: XComposer) -> None:
    one = model.choose(model.prompts.choose(sections(2), PICTURES[:4]), "ABCD")
    other_pictures = model.choose(model.prompts.choose(sections(2), PICTURES[4:8]), "ABCD")
    other_words = model.choose(model.prompts.choose([Section("dogs")], PICTURES[:4]), "ABCD")
    for other in (other_pictures, other_words):  # ten times what the comparisons below allow
        assert max(abs(a - b) for a, b in zip(one.probabilities, other.probabilities, strict=True)) > 1e-3


def test_choosing_equals_full_passes_over_every_spelling(model: XComposer, folder: Path) -> None:
    prompt = model.prompts.choose(sections(2, pictures=PICTURES[:1]), PICTURES[4:8])
    network = convert.load(folder, PLACE)
    paths = {
        path: number
        for number, letter in enumerate("ABCD")
        for lead_in in model._card.lead_ins
        for path in model._tokenizer.spellings(lead_in + letter)
    }
    shares = [0.0] * 4
    units = model._tokenizer.units(prompt)
    for path, number in paths.items():
        scores = full_pass(network, [*units, *path])
        steps = scores[-len(path) - 1 : -1].log_softmax(-1)
        shares[number] += float(sum(steps[i, token] for i, token in enumerate(path)).exp())  # type: ignore[union-attr]
    choice = model.choose(prompt, "ABCD")
    assert choice.mass == pytest.approx(sum(shares), abs=1e-5)
    assert choice.probabilities == pytest.approx([share / sum(shares) for share in shares], abs=1e-5)


@torch.inference_mode()
def full_pass(network: build.Network, units: Sequence[int | Picture]) -> Tensor:
    pieces, mask = [], []
    for unit in units:
        if isinstance(unit, Picture):
            pieces.append(network.encode_images(pixel_values(unit, size=network.image_size)[None])[0])
        else:
            pieces.append(network.llm.model.embed_tokens(torch.tensor([unit])))
        mask += [isinstance(unit, Picture)] * len(pieces[-1])
    with network.image_rows(torch.tensor([mask])):
        logits: Tensor = network.llm(inputs_embeds=torch.cat(pieces)[None]).logits[0]
    return logits


def test_the_prefix_cache_changes_no_choice(folder: Path) -> None:
    warm = load(str(folder))
    chosen: list[Picture] = []
    for spot in range(4):
        prompt = warm.prompts.choose(sections(spot + 1, pictures=chosen), PICTURES[4 * spot : 4 * spot + 4])
        cached, fresh = warm.choose(prompt, "ABCD"), load(str(folder)).choose(prompt, "ABCD")
        assert cached.probabilities == pytest.approx(fresh.probabilities, abs=1e-4)
        assert cached.mass == pytest.approx(fresh.mass, abs=1e-4)
        chosen.append(PICTURES[4 * spot])


def test_a_further_spot_costs_only_what_is_new(model: XComposer) -> None:
    model.choose(model.prompts.choose(sections(12), PICTURES[:4]), "ABCD")
    before = model.positions_read
    model.choose(model.prompts.choose(sections(13), PICTURES[4:8]), "ABCD")
    question = model.count_tokens(model.prompts.choose([], PICTURES[4:8]))
    new_text = model.count_tokens((Text(sections(13)[-1].text),))
    lead_ins = 20  # positions of the ways to begin an answer
    assert model.positions_read - before <= question + new_text + lead_ins


def test_answers_are_the_same_with_and_without_what_was_read_before(model: XComposer, folder: Path) -> None:
    sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=5)
    prompts = [model.prompts.query(ARTICLE, place) for place in (0, 1, 2, 1)]
    assert [said(model, p, sampling) for p in prompts] == [
        said(load(str(folder)), p, sampling)  # type: ignore[arg-type]
        for p in prompts
    ]


def test_twelve_spots_keep_every_candidate_and_the_question(model: XComposer) -> None:
    long = [Section("a cat on a mat and a dog. " * 12, PICTURES[i]) for i in range(12)]
    for spot in range(1, 13):
        context = [*long[: spot - 1], Section(long[spot - 1].text)]
        prompt = model.prompts.choose(context, PICTURES[12:16])
        assert [part for part in prompt if isinstance(part, Picture)][-4:] == PICTURES[12:16]
        assert isinstance(prompt[-1], Template)
        assert prompt[-1].text.endswith("最合适的图是")
        assert model.count_tokens(prompt) < model.capabilities.context_tokens
        assert sum(model.choose(prompt, "ABCD").probabilities) == pytest.approx(1)


def test_prompts_that_just_fit_are_never_refused(model: XComposer) -> None:
    for more in range(6):
        text = "a cat on a mat " * 400 + "x" * more
        prompt = model.prompts.choose([Section(text)] * 3, PICTURES[:4])
        assert sum(model.choose(prompt, "ABCD").probabilities) == pytest.approx(1)


def test_more_candidates_than_trained_meet_in_rounds(model: XComposer) -> None:
    choice = select(model, sections(2), PICTURES[:11])
    assert len(choice.probabilities) == 11
    assert sum(choice.probabilities) == pytest.approx(1)
    assert min(choice.probabilities) > 0


def test_options_that_the_model_does_not_want_are_an_error(model: XComposer) -> None:
    prompt = model.prompts.query(ARTICLE, 1)  # its answer is a cat, no letter
    with pytest.raises(ModelError, match=f"prompt {model.prompts.version}"):
        model.choose(prompt, "ABCD")


def test_cancelling_takes_effect_within_a_token(model: XComposer) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6

    prompt = model.prompts.write(Brief("cats"))
    before = model.positions_read
    pieces = list(model.stream(prompt, Sampling(max_new_tokens=500, temperature=1.0, seed=1), cancelled=cancelled))
    assert len(pieces) <= 6
    assert model.positions_read - before < model.count_tokens(prompt) + 6


def test_a_closed_stream_stops_and_the_model_goes_on(model: XComposer) -> None:
    sampling = Sampling(max_new_tokens=500, temperature=1.0, seed=1)
    stream = model.stream(model.prompts.write(Brief("cats")), sampling)
    first = next(stream)
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    assert next(model.stream(model.prompts.write(Brief("cats")), sampling)) == first


def test_running_out_of_memory_is_told_and_leaves_the_model_usable(
    model: XComposer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, sampling = model.prompts.write(Brief("cats")), Sampling(max_new_tokens=3)
    wanted = said(model, prompt, sampling)
    network = model._reader._network
    forward = network.llm.forward

    def fail(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network.llm, "forward", fail)
    with pytest.raises(ModelError, match="out of memory on cpu"):
        said(model, prompt, sampling)
    monkeypatch.setattr(network.llm, "forward", forward)
    assert said(model, prompt, sampling) == wanted


def test_an_empty_prompt_and_one_over_the_context_are_errors(model: XComposer) -> None:
    with pytest.raises(ModelError, match="empty"):
        said(model, (), Sampling())
    with pytest.raises(ModelError, match="positions"):
        said(model, (Text("a cat " * 20_000),), Sampling())
    with pytest.raises(ModelError, match="different options"):
        model.choose(model.prompts.write(Brief("x")), ["A", "A"])
    with pytest.raises(ModelError, match="ask something"):
        model.prompts.chat([])


def test_a_picture_that_cannot_be_decoded_is_named(model: XComposer, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    noise = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(ModelError, match="picture broken cannot be decoded"):
        said(model, model.prompts.describe(Picture("broken", image), language="en"), Sampling())


def test_beams_find_an_answer_and_draw_nothing(model: XComposer) -> None:
    prompt = model.prompts.query(ARTICLE, 1)
    assert said(model, prompt, Sampling(beams=3, max_new_tokens=6, stop=('"',))) == "cat"
    with_picture = model.prompts.describe(PICTURES[0], language="en")
    greedy, searched = (said(model, with_picture, Sampling(beams=beams, max_new_tokens=4)) for beams in (1, 2))
    assert greedy == searched, "nothing else is nearly as likely"
    with pytest.raises(ModelError, match="beams search"):
        said(model, prompt, Sampling(beams=2, temperature=1.0))


@pytest.mark.parametrize("text", ["\x00\x01", "\ud800 lone", "\u202e\ufeff", "\x1b[31m", "🤗" * 50])
def test_any_characters_of_a_user_can_be_read(model: XComposer, text: str) -> None:
    assert said(model, model.prompts.chat([Turn("user", f"a{text}b")]), Sampling(max_new_tokens=3))


def test_scores_that_are_no_numbers_are_never_a_choice(model: XComposer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_weighed", lambda *_: [float("nan")] * 4)
    with pytest.raises(ModelError, match="nan%"):
        model.choose(model.prompts.choose(sections(2), PICTURES[:4]), "ABCD")


@pytest.mark.parametrize(("free", "count", "apart"), [((0, 2, 3, 5, 11), 5, 1), (range(12), 4, 2), ((7,), None, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_places_are_those_that_may_be_named_however_they_are_drawn(
    model: XComposer, free: Sequence[int], count: int | None, apart: int, seed: int
) -> None:
    form = model.prompts.spot_form(free, count=count, apart=apart)
    sampling = Sampling(max_new_tokens=200, temperature=5.0, seed=seed, form=form)
    answer = said(model, model.prompts.spot(ARTICLE, count=count), sampling)
    named = model.prompts.spots_in(answer, sections=12)
    assert len(named) == len(re.findall("<Seg", answer)) == (count or 1)
    assert set(named) <= set(free)
    assert all(later - one >= apart for one, later in pairwise(named))


def test_stop_strings_hold(model: XComposer) -> None:
    stopped = said(model, model.prompts.query(ARTICLE, 0), Sampling(max_new_tokens=20, stop=("t",)))
    assert stopped == "ca"


def test_the_reference_procedure_answers_with_a_letter(folder: Path) -> None:
    model = load(str(folder), Runtime(procedure="reference"))
    choice = model.choose(model.prompts.choose(sections(2), PICTURES[:4]), "ABCD")
    assert sorted(choice.probabilities) == [0, 0, 0, 1]
    assert not model.capabilities.logprobs


def test_english_wording_is_opted_in(folder: Path) -> None:
    model = load(str(folder), Runtime(wording="english"))
    assert model.prompts.version.endswith("en-unproven")


def test_pictures_are_encoded_once_and_kept_within_their_bytes() -> None:
    encoded: list[str] = []

    def encode(pictures: Sequence[Picture]) -> Tensor:
        encoded.extend(picture.key for picture in pictures)
        return torch.zeros(len(pictures), 4, 8)  # 128 bytes each

    features = ImageFeatureCache(encode, capacity_bytes=300, batch=2)
    features.rows([PICTURES[0], PICTURES[1], PICTURES[0]])
    features.rows([PICTURES[0]])
    assert encoded == ["p0", "p1"]
    features.rows([PICTURES[2]])
    assert features.size_bytes <= 300
    assert set(features.rows(PICTURES[:5])) == {"p0", "p1", "p2", "p3", "p4"}
