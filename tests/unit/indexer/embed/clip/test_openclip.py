"""open_clip compared with the library called directly; weights are tiny and random."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.clip_checkpoints import MEAN, OPEN_CLIP, SIZE, STD, cached, open_clip_folder, sample_images
from tests.nearness import ROUNDING
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.clip import torch_networks
from xcomp_indexer.embed.clip.openclip import load
from xcomp_indexer.embed.clip.openclip_tokenizer import HubTokenizer
from xcomp_indexer.embed.clip.windows import cut_windows
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights import sources
from xcomp_protos.errors import ImageError, ModelError

NEAR = 1e-4
TORCH = Execution("torch")
TEXTS = ["a red house by the sea", "Two cats &amp; a dog, 3 birds!", "", "  ÜBER  den Wolken ", "红色的房子"]


@dataclass(frozen=True)
class Reference:
    """The library as its own README uses it."""

    model: open_clip.CLIP
    transform: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]

    @torch.no_grad()
    def images(self, images: list[Image.Image]) -> np.ndarray:
        stacked = torch.stack([self.transform(image) for image in images])
        return np.asarray(self.model.encode_image(stacked, normalize=True))

    @torch.no_grad()
    def texts(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self.model.encode_text(self.tokenizer(texts), normalize=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_clip_folder(tmp_path_factory.mktemp("open_clip") / "model")


@pytest.fixture(scope="module", params=["openvino", "torch"])
def embedder(folder: Path, request: pytest.FixtureRequest) -> Embedder:
    return embed.load(f"open_clip:{folder}", Execution(request.param))


@pytest.fixture(scope="module")
def through_torch(folder: Path) -> Embedder:
    return embed.load(f"open_clip:{folder}", TORCH)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return reference_of(folder)


def reference_of(folder: Path) -> Reference:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return Reference(model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}"))


def changed(folder: Path, home: Path, **parts: Mapping[str, object]) -> Path:
    """Copies a model and changes parts of its configuration."""
    copy = Path(shutil.copytree(folder, home / "changed"))
    config = {name: {**OPEN_CLIP[name], **parts.get(name, {})} for name in OPEN_CLIP}  # type: ignore[dict-item]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    return copy


def test_images_get_the_vectors_of_the_library(embedder: Embedder, reference: Reference) -> None:
    vectors = embedder.encode_images(sample_images()).vectors
    assert np.abs(vectors - reference.images(sample_images())).max() < NEAR
    assert vectors.dtype == np.float32


def test_of_a_long_strip_only_the_middle_is_enlarged(embedder: Embedder, reference: Reference) -> None:
    strip = sample_images()[1].resize((40 * 32, 32))
    assert np.abs(embedder.encode_images([strip]).vectors - reference.images([strip])).max() < NEAR


def test_an_image_one_pixel_high_costs_no_more_than_others(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[Sequence[int]] = []
    resize = Image.Image.resize

    def resized(image: Image.Image, size: tuple[int, int], *rest: object, **more: object) -> Image.Image:
        sizes.append(size)
        return resize(image, size, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", resized)
    assert np.isfinite(embedder.encode_images([Image.new("RGB", (60_000, 1))]).vectors).all()
    assert max(map(max, sizes)) <= 16 * SIZE


def test_an_image_that_the_preprocessing_cannot_take_is_unsupported(folder: Path, tmp_path: Path) -> None:
    hairline = Image.new("RGB", (60_000, 1))
    longest = embed.load(f"open_clip:{changed(folder, tmp_path, preprocess_cfg={'resize_mode': 'longest'})}")
    with pytest.raises(ImageError, match="60000x1") as caught:
        longest.encode_images([hairline])
    assert caught.value.reason == "unsupported"


def test_texts_get_the_vectors_of_the_library(embedder: Embedder, reference: Reference) -> None:
    assert np.abs(embedder.encode_texts(TEXTS) - reference.texts(TEXTS)).max() < NEAR


def of_other_parts(home: Path, *, vision: Mapping[str, object], text: Mapping[str, object], **more: object) -> Path:
    """Writes a model whose towers differ in some settings of the library."""
    network = OPEN_CLIP["model_cfg"]
    assert isinstance(network, dict)
    clip = {"vision_cfg": {**network["vision_cfg"], **vision}, "text_cfg": {**network["text_cfg"], **text}}
    return open_clip_folder(home / "other", config={**OPEN_CLIP, "model_cfg": {**network, **clip, **more}})


def rows_of_last_mlp(embedder: Embedder, tower: str) -> int:
    """Tokens whose output the last block of a tower computes for one image or text."""
    network = embedder._model.network  # type: ignore[attr-defined]  # a hook shows what no result shows
    *_, last = (module for name, module in network.get_submodule(tower).named_modules() if name.endswith("mlp.c_fc"))
    rows: list[int] = []
    watch = last.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].numel() // inputs[0].shape[-1]))
    embedder.encode_images(sample_images()[:1])
    embedder.encode_texts(["a red house"])
    watch.remove()
    return sum(rows)


SCALED = {"ls_init_value": 0.5}
PICTURE_TOKENS = (SIZE // 8) ** 2 + 1


@pytest.mark.parametrize(
    ("vision", "text", "more"),
    [
        ({}, {}, {}),
        ({}, {}, {"quick_gelu": True}),
        (SCALED, SCALED, {}),
        ({"final_ln_after_pool": True, "no_ln_pre": True}, {"proj_bias": True}, {}),
        ({"layers": 1}, {"layers": 1}, {}),
    ],
)
def test_of_the_last_block_only_the_token_that_is_pooled_is_computed(
    tmp_path: Path, vision: Mapping[str, object], text: Mapping[str, object], more: Mapping[str, object]
) -> None:
    folder = of_other_parts(tmp_path, vision=vision, text=text, **more)
    embedder, reference = embed.load(f"open_clip:{folder}", TORCH), reference_of(folder)
    assert np.abs(embedder.encode_images(sample_images()).vectors - reference.images(sample_images())).max() < ROUNDING
    assert np.abs(embedder.encode_texts(TEXTS) - reference.texts(TEXTS)).max() < ROUNDING
    assert rows_of_last_mlp(embedder, "visual.transformer") == 1
    assert rows_of_last_mlp(embedder, "transformer") == 1


@pytest.mark.parametrize(
    "vision", [{"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 2}, {"scale_attn": True}]
)
def test_an_image_tower_of_another_design_is_left_to_the_library(tmp_path: Path, vision: Mapping[str, object]) -> None:
    folder = of_other_parts(tmp_path, vision=vision, text={})
    embedder = embed.load(f"open_clip:{folder}")
    vectors = embedder.encode_images(sample_images()).vectors
    assert np.abs(vectors - reference_of(folder).images(sample_images())).max() < ROUNDING
    assert rows_of_last_mlp(embedder, "visual.transformer") == PICTURE_TOKENS


@pytest.mark.parametrize("text", [{"pool_type": "last"}, {"no_causal_mask": True}, {"scale_fc": True}])
def test_a_text_tower_of_another_design_is_left_to_the_library(tmp_path: Path, text: Mapping[str, object]) -> None:
    folder = of_other_parts(tmp_path, vision={}, text=text)
    embedder = embed.load(f"open_clip:{folder}")
    assert np.abs(embedder.encode_texts(TEXTS) - reference_of(folder).texts(TEXTS)).max() < ROUNDING
    assert rows_of_last_mlp(embedder, "transformer") == 77


def widths_read(embedder: Embedder, texts: Sequence[str]) -> list[int]:
    """Tokens to a text of each pass of the text tower."""
    widths: list[int] = []
    network = embedder._model.network  # type: ignore[attr-defined]  # a hook shows what no result shows
    watch = network.token_embedding.register_forward_hook(lambda _, ids, __: widths.append(ids[0].shape[1]))
    embedder.encode_texts(texts)
    watch.remove()
    return widths


def test_the_padding_behind_a_text_is_not_read(through_torch: Embedder, reference: Reference) -> None:
    embedder = through_torch
    assert widths_read(embedder, ["a house", "a red house"]) == [5], "three words between two marks"
    assert widths_read(embedder, ["house " * 300]) == [77], "windows of full length"
    alone = embedder.encode_texts(["a house"])
    assert np.abs(embedder.encode_texts(["a house", "house " * 75])[0] - alone).max() < ROUNDING
    assert np.abs(alone - reference.texts(["a house"])).max() < ROUNDING


def test_padding_that_a_text_sees_is_read(folder: Path, tmp_path: Path) -> None:
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    seeing = changed(folder, tmp_path, model_cfg={"text_cfg": {**text, "no_causal_mask": True}})
    embedder = embed.load(f"open_clip:{seeing}")
    assert widths_read(embedder, TEXTS) == [77]
    assert np.abs(embedder.encode_texts(TEXTS) - reference_of(seeing).texts(TEXTS)).max() < NEAR


@pytest.mark.parametrize("resize_mode", ["squash", "longest"])
def test_the_preprocessing_is_the_models_own(folder: Path, tmp_path: Path, resize_mode: str) -> None:
    said = {"resize_mode": resize_mode, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    other = changed(folder, tmp_path, preprocess_cfg=said)
    vectors = embed.load(f"open_clip:{other}").encode_images(sample_images()).vectors
    assert np.abs(vectors - reference_of(other).images(sample_images())).max() < NEAR
    assert np.abs(vectors - reference_of(folder).images(sample_images())).max() > NEAR


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU keeps memory of its own")
def test_images_run_in_parts_whose_tensors_the_c_library_keeps_memory_for(
    folder: Path, through_torch: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    widest = 4 * PICTURE_TOKENS * 4 * 32  # bytes of the MLP's inner layer, four times the width of the tower
    monkeypatch.setattr(torch_networks, "_KEPT_BYTES", 5 * widest)
    careful = embed.load(f"open_clip:{folder}", TORCH)
    sizes: list[int] = []
    network = careful._model.network  # type: ignore[attr-defined]  # a hook shows what no result shows
    network.visual.conv1.register_forward_hook(lambda _, pixels, __: sizes.append(len(pixels[0])))
    vectors = careful.encode_images(sample_images() * 4).vectors
    assert sizes == [4, 4, 4, 4], "equal parts of a batch, not one of 5 and a rest"
    assert np.abs(vectors - through_torch.encode_images(sample_images() * 4).vectors).max() < ROUNDING


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU reads either layout as fast")
def test_weights_lie_as_a_processor_reads_them(through_torch: Embedder) -> None:
    network = through_torch._model.network  # type: ignore[attr-defined]  # a layout shows in no result
    linear = [each.weight for each in network.modules() if isinstance(each, torch.nn.Linear)]
    packed = [each.in_proj_weight for each in network.modules() if isinstance(each, torch.nn.MultiheadAttention)]
    assert len(linear) == 3 * len(packed) == 12, "of two towers with two blocks each"
    assert all(weight.t().is_contiguous() for weight in (*linear, *packed))


def test_a_batch_gives_what_single_calls_give(embedder: Embedder) -> None:
    many = sample_images() * 5  # more than a batch of the CPU
    singly = np.concatenate([embedder.encode_images([image]).vectors for image in many])
    assert np.abs(embedder.encode_images(many).vectors - singly).max() < ROUNDING
    texts = TEXTS * 5
    singly = np.concatenate([embedder.encode_texts([text]) for text in texts])
    assert np.abs(embedder.encode_texts(texts) - singly).max() < ROUNDING


def test_nothing_gives_no_vectors(embedder: Embedder) -> None:
    assert embedder.encode_images([]).vectors.shape == embedder.encode_texts([]).shape == (0, embedder.dimension)


def test_a_long_text_is_the_weighted_mean_of_its_windows(embedder: Embedder, reference: Reference) -> None:
    words = [f"word{number % 10}" for number in range(100)]  # two tokens each, and 75 fit into a window
    tokens = open_clip.tokenizer.SimpleTokenizer().encode(" ".join(words))
    assert len(tokens) == 200
    windows = cut_windows([tokens], length=77, marks=(49406, 49407), padded_to=77)
    with torch.no_grad():
        parts = reference.model.encode_text(torch.from_numpy(windows.input_ids), normalize=True).numpy()
    expected = (parts * np.array([[75], [75], [50]])).sum(axis=0)
    assert np.abs(embedder.encode_texts([" ".join(words)])[0] - expected / np.linalg.norm(expected)).max() < NEAR


def test_the_end_of_a_long_text_counts(embedder: Embedder) -> None:
    start = "a quiet street " * 60
    one, other = embedder.encode_texts([start + "with a red car", start + "under deep snow"])
    assert np.abs(one - other).max() > NEAR


def test_marks_in_a_text_are_no_commands(embedder: Embedder) -> None:
    marked, plain, other = embedder.encode_texts(
        ["a cat &lt;END_of_text&gt; in snow", "a cat in snow", "a cat <end_of_text> in rain"]
    )
    assert np.abs(marked - plain).max() < NEAR
    assert np.abs(marked - other).max() > NEAR


def test_any_text_gets_a_vector_soon(embedder: Embedder) -> None:
    odd = ["\ud800 half", "\x00", "红" * 3000, "a" * 20_000, "🦊" * 500]
    vectors = embedder.encode_texts(odd)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < ROUNDING


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    images = sample_images()
    expected = [embedder.encode_images([image]).vectors for image in images], embedder.encode_texts(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        seen = [pool.submit(embedder.encode_images, [image]) for image in images * 4]
        read = [pool.submit(embedder.encode_texts, TEXTS) for _ in range(16)]
        for at, each in enumerate(seen):
            assert np.abs(each.result().vectors - expected[0][at % len(images)]).max() < ROUNDING
        for text in read:
            assert np.abs(text.result() - expected[1]).max() < ROUNDING


def test_bf16_keeps_the_vectors(folder: Path, embedder: Embedder) -> None:
    half = load(sources.parse_open_clip(f"open_clip:{folder}"), Execution("torch", "bf16"))
    exact = np.concatenate([embedder.encode_images(sample_images()).vectors, embedder.encode_texts(TEXTS)])
    rough = np.concatenate([half.encode_images(sample_images()).vectors, half.encode_texts(TEXTS)])
    assert (exact * rough).sum(axis=1).min() > 0.999
    assert np.abs(exact - rough).max() > 0


def test_a_folder_says_what_it_is(embedder: Embedder, folder: Path) -> None:
    assert embedder.name == f"open_clip:{folder}"
    assert (embedder.dimension, embedder.image_size) == (24, 32)
    assert embedder.languages == {"en"}


def test_pickled_weights_give_the_same_vectors(tmp_path: Path, embedder: Embedder) -> None:
    pickled = embed.load(f"open_clip:{open_clip_folder(tmp_path / 'bin', safe=False)}")
    assert np.abs(pickled.encode_texts(TEXTS) - embedder.encode_texts(TEXTS)).max() < ROUNDING


def test_the_digest_is_of_the_content(tmp_path: Path, embedder: Embedder, folder: Path) -> None:
    same = Path(shutil.copytree(folder, tmp_path / "same"))
    other = open_clip_folder(tmp_path / "other", seed=1)
    squashed = changed(folder, tmp_path, preprocess_cfg={"resize_mode": "squash"})
    digests = [embed.load(f"open_clip:{each}").digest for each in (same, other, squashed)]
    assert digests[0] == embedder.digest
    assert len({*digests}) == 3


def test_a_model_of_the_hubs_cache_is_named_with_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, embedder: Embedder
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = cached(folder, tmp_path, "org/tiny")
    fetched = embed.load("open_clip:hf-hub:org/tiny")
    assert fetched.name == f"open_clip:hf-hub:org/tiny@{commit}"
    assert fetched.digest == embed.load(fetched.name).digest == embedder.digest


def test_a_tag_is_loaded_with_the_librarys_own_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """The cache of somebody who used the library before holds weights and nothing else."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "tiny.json").write_text(json.dumps(OPEN_CLIP["model_cfg"]))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"tiny": OPEN_CLIP["model_cfg"]})
    said = {"hf_hub": "org/tiny/", "mean": [0.5] * 3, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"random": said})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = cached(folder, tmp_path, "org/tiny")
    next(tmp_path.glob("models--*/snapshots/*/open_clip_config.json")).unlink()
    tagged = embed.load("open_clip:tiny/random")
    same = changed(folder, tmp_path, preprocess_cfg={"resize_mode": "squash", "mean": [0.5] * 3})
    assert tagged.name == f"open_clip:tiny/random@{commit}"
    expected = reference_of(same).images(sample_images())
    assert np.abs(tagged.encode_images(sample_images()).vectors - expected).max() < NEAR


def test_the_short_list_of_repositories_is_the_librarys() -> None:
    for (architecture, tag), place in sources.OPEN_CLIP_REPOSITORIES.items():
        assert open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"] == place


def test_a_tag_that_needs_another_activation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "open_clip_model.safetensors").write_bytes(b"any")
    cached(tmp_path / "weights", tmp_path, "timm/vit_base_patch32_clip_224.openai")
    with pytest.raises(ModelError, match="use open_clip:ViT-B-32-quickgelu/openai"):
        embed.load("open_clip:ViT-B-32/openai")


def test_a_tokenizer_of_the_hub_is_used_and_makes_a_tower_multilingual(tmp_path: Path, folder: Path) -> None:
    words = {word: at for at, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "a", "red", "house", "红"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    named = {**text, "hf_tokenizer_name": "xlm-roberta-base", "tokenizer_kwargs": {"clean": "canonicalize"}}
    other = changed(folder, tmp_path, model_cfg={"text_cfg": named})
    tokenizer.save(str(other / "tokenizer.json"))
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (other / "tokenizer_config.json").write_text(json.dumps({**marks, "tokenizer_class": "PreTrainedTokenizerFast"}))
    embedder = embed.load(f"open_clip:{other}")
    assert embedder.languages == {"en", "zh"}
    texts = ["A red HOUSE!", "红 house", ""]
    assert np.abs(embedder.encode_texts(texts) - reference_of(other).texts(texts)).max() < NEAR
    windows = HubTokenizer(other, named).windows(["red " * 100, "</s> red"])
    assert windows.input_ids.shape == (3, 77)
    assert (windows.owners, list(windows.weights)) == ([0, 0, 1], [77, 27, 4])


def test_a_tokenizer_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    other = changed(folder, tmp_path, model_cfg={"text_cfg": {**text, "hf_tokenizer_name": "missing/none"}})
    with pytest.raises(ModelError, match=r"tokenizer.json of missing/none is not in"):
        embed.load(f"open_clip:{other}")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"size": 64}, r"its preprocessing says size 64, its network takes \(32, 32\)"),
        ({"resize_mode": "sideways"}, "damaged or of another model"),
        ({"mean": MEAN[:2]}, "damaged or of another model"),
    ],
)
def test_a_wrong_preprocessing_is_refused(folder: Path, tmp_path: Path, said: dict[str, object], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        embed.load(f"open_clip:{changed(folder, tmp_path, preprocess_cfg=said)}")


def test_a_wrong_width_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"open_clip:{changed(folder, tmp_path, model_cfg={'embed_dim': 48})}")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_cfg": 3}', "no json"])
def test_a_damaged_configuration_is_one_line(folder: Path, tmp_path: Path, content: str) -> None:
    (changed(folder, tmp_path) / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError) as raised:
        embed.load(f"open_clip:{tmp_path / 'changed'}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("keep", [0, 100, 100_000])
@pytest.mark.parametrize("safe", [True, False])
def test_weights_cut_short_are_refused(tmp_path: Path, keep: int, safe: bool) -> None:
    folder = open_clip_folder(tmp_path / "cut", safe=safe)
    weights = next(path for path in folder.iterdir() if path.suffix != ".json")
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"open_clip:{folder}")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder = open_clip_folder(tmp_path / "evil", safe=False)
    torch.save({"visual.proj": Bomb(tmp_path / "ran")}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"open_clip:{folder}")
    assert not (tmp_path / "ran").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("value", "match"), [(float("nan"), "not finite"), (0.0, "not of length 1")])
def test_unusable_weights_fail_the_self_test(folder: Path, tmp_path: Path, value: float, match: str) -> None:
    other = changed(folder, tmp_path)
    state = load_file(other / "open_clip_model.safetensors")
    save_file(
        {**state, "visual.proj": torch.full_like(state["visual.proj"], value)}, other / "open_clip_model.safetensors"
    )
    with pytest.raises(ModelError, match=match):
        embed.load(f"open_clip:{other}")


def test_a_model_that_sees_nothing_fails_the_self_test(folder: Path, tmp_path: Path) -> None:
    other = changed(folder, tmp_path)
    state = load_file(other / "open_clip_model.safetensors")
    blind = {**state, "visual.conv1.weight": torch.zeros_like(state["visual.conv1.weight"])}
    save_file(blind, other / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="different images the same vector"):
        embed.load(f"open_clip:{other}")


def test_the_fast_last_block_keeps_the_vectors_and_can_be_turned_off(folder: Path) -> None:
    release = sources.parse_open_clip(f"open_clip:{folder}")
    fast, plain = load(release, TORCH), load(release, TORCH, fast=False)
    assert rows_of_last_mlp(plain, "visual") > rows_of_last_mlp(fast, "visual")
    assert (
        np.abs(fast.encode_images(sample_images()).vectors - plain.encode_images(sample_images()).vectors).max() < NEAR
    )
    assert np.abs(fast.encode_texts(TEXTS) - plain.encode_texts(TEXTS)).max() < NEAR
