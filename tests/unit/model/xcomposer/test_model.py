"""Both versions of the model behind the interface, on made-up checkpoints in the released formats."""

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
from xcomp_model.base import Brief, ImagePart, ModelFailure, Prompt, Runtime, Sampling, Section, Template, Text, Turn
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


IMAGES = [ImagePart(f"p{i}", _noise(i)) for i in range(20)]


@pytest.fixture(scope="module", params=[1, 2], ids=["version 1", "version 2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(request.param, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> XComposer:
    loaded = load(str(folder))
    assert isinstance(loaded, XComposer)
    return loaded


def sections(count: int, *, images: Sequence[ImagePart] = ()) -> list[Section]:
    shown = [*images, *([None] * (count - len(images)))]
    return [Section(f"section {i} of a cat", image) for i, image in enumerate(shown[:count])]


def answer_to(model: XComposer, prompt: Prompt, sampling: Sampling) -> str:
    return "".join(model.stream(prompt, sampling))


def test_the_stages_run_through(model: XComposer) -> None:
    prompts = model.prompts
    answer = answer_to(model, prompts.spot(ARTICLE, count=1), prompts.sampling("spot"))
    assert prompts.parse_spots(answer, sections=3) == (1,)
    answer = answer_to(model, prompts.query(ARTICLE, 1, earlier=[(0, "a mat")]), prompts.sampling("query"))
    assert prompts.parse_query(answer) == "cat"
    assert answer_to(model, prompts.chat([Turn("user", "hello?", (IMAGES[0],))]), prompts.sampling("chat"))
    assert answer_to(model, prompts.describe(IMAGES[0], language="en"), prompts.sampling("describe"))
    assert answer_to(model, prompts.write(Brief("cats")), Sampling(max_new_tokens=5))
    assert answer_to(model, prompts.edit("expand", ARTICLE, 1, hint="dogs"), Sampling(max_new_tokens=5))


def test_a_choice_has_a_probability_for_every_option(model: XComposer) -> None:
    choice = model.choose(model.prompts.choose(sections(2), IMAGES[:4]), "ABCD")
    assert sum(choice.probabilities) == pytest.approx(1)
    assert 0.5 < choice.mass <= 1


def test_images_and_words_change_a_choice(model: XComposer) -> None:
    one = model.choose(model.prompts.choose(sections(2), IMAGES[:4]), "ABCD")
    other_images = model.choose(model.prompts.choose(sections(2), IMAGES[4:8]), "ABCD")
    other_words = model.choose(model.prompts.choose([Section("dogs")], IMAGES[:4]), "ABCD")
    for other in (other_images, other_words):  # ten times the tolerance of the comparisons below
        assert max(abs(a - b) for a, b in zip(one.probabilities, other.probabilities, strict=True)) > 1e-3


def test_choosing_equals_full_passes_over_every_spelling(model: XComposer, folder: Path) -> None:
    prompt = model.prompts.choose(sections(2, images=IMAGES[:1]), IMAGES[4:8])
    network = convert.load(folder, PLACE)
    paths = {
        path: number
        for number, letter in enumerate("ABCD")
        for lead_in in model._info.lead_ins
        for path in model._tokenizer.spellings(lead_in + letter)
    }
    shares = [0.0] * 4
    units = model._tokenizer.encode_prompt(prompt)
    for path, number in paths.items():
        scores = full_pass(network, [*units, *path])
        steps = scores[-len(path) - 1 : -1].log_softmax(-1)
        shares[number] += float(sum(steps[i, token] for i, token in enumerate(path)).exp())  # type: ignore[union-attr]
    choice = model.choose(prompt, "ABCD")
    assert choice.mass == pytest.approx(sum(shares), abs=1e-5)
    assert choice.probabilities == pytest.approx([share / sum(shares) for share in shares], abs=1e-5)


@torch.inference_mode()
def full_pass(network: build.Network, units: Sequence[int | ImagePart]) -> Tensor:
    pieces, mask = [], []
    for unit in units:
        if isinstance(unit, ImagePart):
            pieces.append(network.encode_images(pixel_values(unit, size=network.image_size)[None])[0])
        else:
            pieces.append(network.llm.model.embed_tokens(torch.tensor([unit])))
        mask += [isinstance(unit, ImagePart)] * len(pieces[-1])
    with network.image_rows(torch.tensor([mask])):
        logits: Tensor = network.llm(inputs_embeds=torch.cat(pieces)[None]).logits[0]
    return logits


def test_the_prefix_cache_changes_no_choice(folder: Path) -> None:
    warm = load(str(folder))
    chosen: list[ImagePart] = []
    for spot in range(4):
        prompt = warm.prompts.choose(sections(spot + 1, images=chosen), IMAGES[4 * spot : 4 * spot + 4])
        cached, fresh = warm.choose(prompt, "ABCD"), load(str(folder)).choose(prompt, "ABCD")
        assert cached.probabilities == pytest.approx(fresh.probabilities, abs=1e-4)
        assert cached.mass == pytest.approx(fresh.mass, abs=1e-4)
        chosen.append(IMAGES[4 * spot])


def test_a_further_spot_costs_only_what_is_new(model: XComposer) -> None:
    model.choose(model.prompts.choose(sections(12), IMAGES[:4]), "ABCD")
    before = model.positions_read
    model.choose(model.prompts.choose(sections(13), IMAGES[4:8]), "ABCD")
    question = model.count_tokens(model.prompts.choose([], IMAGES[4:8]))
    new_text = model.count_tokens((Text(sections(13)[-1].text),))
    lead_ins = 20  # positions of the ways to start an answer
    assert model.positions_read - before <= question + new_text + lead_ins


def test_answers_are_the_same_with_and_without_cached_prompts(model: XComposer, folder: Path) -> None:
    sampling = Sampling(max_new_tokens=12, temperature=1.0, seed=5)
    prompts = [model.prompts.query(ARTICLE, section) for section in (0, 1, 2, 1)]
    assert [answer_to(model, p, sampling) for p in prompts] == [
        answer_to(load(str(folder)), p, sampling)  # type: ignore[arg-type]
        for p in prompts
    ]


def test_prompts_of_twelve_spots_keep_every_candidate_and_the_question(model: XComposer) -> None:
    long = [Section("a cat on a mat and a dog. " * 12, IMAGES[i]) for i in range(12)]
    for spot in range(1, 13):
        context = [*long[: spot - 1], Section(long[spot - 1].text)]
        prompt = model.prompts.choose(context, IMAGES[12:16])
        assert [part for part in prompt if isinstance(part, ImagePart)][-4:] == IMAGES[12:16]
        assert isinstance(prompt[-1], Template)
        assert prompt[-1].text.endswith("最合适的图是")
        assert model.count_tokens(prompt) < model.capabilities.context_tokens
        assert sum(model.choose(prompt, "ABCD").probabilities) == pytest.approx(1)


def test_prompts_that_just_fit_are_never_refused(model: XComposer) -> None:
    for more in range(6):
        text = "a cat on a mat " * 400 + "x" * more
        prompt = model.prompts.choose([Section(text)] * 3, IMAGES[:4])
        assert sum(model.choose(prompt, "ABCD").probabilities) == pytest.approx(1)


def test_more_candidates_than_trained_are_chosen_in_rounds(model: XComposer) -> None:
    choice = select(model, sections(2), IMAGES[:11])
    assert len(choice.probabilities) == 11
    assert sum(choice.probabilities) == pytest.approx(1)
    assert min(choice.probabilities) > 0


def test_options_that_the_model_does_not_answer_with_are_an_error(model: XComposer) -> None:
    prompt = model.prompts.query(ARTICLE, 1)  # its answer is a cat, not a letter
    with pytest.raises(ModelFailure, match=f"prompt {model.prompts.version}"):
        model.choose(prompt, "ABCD")


def test_cancelling_takes_effect_within_a_token(model: XComposer) -> None:
    asked = 0

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6

    prompt = model.prompts.write(Brief("cats"))
    before = model.positions_read
    pieces = list(
        model.stream(prompt, Sampling(max_new_tokens=500, temperature=1.0, seed=1), is_cancelled=is_cancelled)
    )
    assert len(pieces) <= 6
    assert model.positions_read - before < model.count_tokens(prompt) + 6


def test_a_closed_stream_stops_and_the_model_stays_usable(model: XComposer) -> None:
    sampling = Sampling(max_new_tokens=500, temperature=1.0, seed=1)
    stream = model.stream(model.prompts.write(Brief("cats")), sampling)
    first = next(stream)
    assert isinstance(stream, Iterator)
    stream.close()  # type: ignore[attr-defined]
    assert next(model.stream(model.prompts.write(Brief("cats")), sampling)) == first


def test_running_out_of_memory_is_an_error_and_leaves_the_model_usable(
    model: XComposer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, sampling = model.prompts.write(Brief("cats")), Sampling(max_new_tokens=3)
    expected = answer_to(model, prompt, sampling)
    network = model._runner._network
    forward = network.llm.forward

    def fail(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network.llm, "forward", fail)
    with pytest.raises(ModelFailure, match="out of memory on cpu"):
        answer_to(model, prompt, sampling)
    monkeypatch.setattr(network.llm, "forward", forward)
    assert answer_to(model, prompt, sampling) == expected


def test_an_empty_prompt_and_one_over_the_context_are_errors(model: XComposer) -> None:
    with pytest.raises(ModelFailure, match="empty"):
        answer_to(model, (), Sampling())
    with pytest.raises(ModelFailure, match="positions"):
        answer_to(model, (Text("a cat " * 20_000),), Sampling())
    with pytest.raises(ModelFailure, match="different options"):
        model.choose(model.prompts.write(Brief("x")), ["A", "A"])
    with pytest.raises(ModelFailure, match="ask something"):
        model.prompts.chat([])


def test_an_image_that_cannot_be_decoded_is_named(model: XComposer, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    noise = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(ModelFailure, match="image broken cannot be decoded"):
        answer_to(model, model.prompts.describe(ImagePart("broken", image), language="en"), Sampling())


def test_a_beam_search_finds_the_greedy_answer_and_refuses_to_draw(model: XComposer) -> None:
    prompt = model.prompts.query(ARTICLE, 1)
    assert answer_to(model, prompt, Sampling(beams=3, max_new_tokens=6, stop=('"',))) == "cat"
    with_image = model.prompts.describe(IMAGES[0], language="en")
    greedy, searched = (answer_to(model, with_image, Sampling(beams=beams, max_new_tokens=4)) for beams in (1, 2))
    assert greedy == searched, "no other answer is nearly as likely"
    with pytest.raises(ModelFailure, match="a beam search does not draw"):
        answer_to(model, prompt, Sampling(beams=2, temperature=1.0))


@pytest.mark.parametrize("text", ["\x00\x01", "\ud800 lone", "\u202e\ufeff", "\x1b[31m", "🤗" * 50])
def test_any_characters_of_a_user_are_accepted(model: XComposer, text: str) -> None:
    assert answer_to(model, model.prompts.chat([Turn("user", f"a{text}b")]), Sampling(max_new_tokens=3))


def test_scores_that_are_not_numbers_are_never_a_choice(model: XComposer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_option_probabilities", lambda *_: [float("nan")] * 4)
    with pytest.raises(ModelFailure, match="nan%"):
        model.choose(model.prompts.choose(sections(2), IMAGES[:4]), "ABCD")


@pytest.mark.parametrize(("free", "count", "apart"), [((0, 2, 3, 5, 11), 5, 1), (range(12), 4, 2), ((7,), None, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_drawn_spots_are_always_allowed_ones(
    model: XComposer, free: Sequence[int], count: int | None, apart: int, seed: int
) -> None:
    grammar = model.prompts.spot_grammar(free, count=count, apart=apart)
    sampling = Sampling(max_new_tokens=200, temperature=5.0, seed=seed, grammar=grammar)
    answer = answer_to(model, model.prompts.spot(ARTICLE, count=count), sampling)
    spots = model.prompts.parse_spots(answer, sections=12)
    assert len(spots) == len(re.findall("<Seg", answer)) == (count or 1)
    assert set(spots) <= set(free)
    assert all(later - one >= apart for one, later in pairwise(spots))


def test_an_answer_ends_at_a_stop_string(model: XComposer) -> None:
    stopped = answer_to(model, model.prompts.query(ARTICLE, 0), Sampling(max_new_tokens=20, stop=("t",)))
    assert stopped == "ca"


def test_the_reference_procedure_answers_with_a_letter(folder: Path) -> None:
    model = load(str(folder), Runtime(procedure="reference"))
    choice = model.choose(model.prompts.choose(sections(2), IMAGES[:4]), "ABCD")
    assert sorted(choice.probabilities) == [0, 0, 0, 1]
    assert not model.capabilities.logprobs


def test_english_wording_is_opted_in(folder: Path) -> None:
    model = load(str(folder), Runtime(wording="english"))
    assert model.prompts.version.endswith("en-unproven")


def test_images_are_encoded_once_and_cached_within_their_bytes() -> None:
    encoded: list[str] = []

    def encode(images: Sequence[ImagePart]) -> Tensor:
        encoded.extend(image.key for image in images)
        return torch.zeros(len(images), 4, 8)  # 128 bytes each

    features = ImageFeatureCache(encode, capacity_bytes=300, batch=2)
    features.get([IMAGES[0], IMAGES[1], IMAGES[0]])
    features.get([IMAGES[0]])
    assert encoded == ["p0", "p1"]
    features.get([IMAGES[2]])
    assert features.size_bytes <= 300
    assert set(features.get(IMAGES[:5])) == {"p0", "p1", "p2", "p3", "p4"}
