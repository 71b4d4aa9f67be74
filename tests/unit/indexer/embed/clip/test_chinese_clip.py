"""Chinese-CLIP compared with transformers and the authors' own code; weights are tiny and random."""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from torch.nn import functional
from transformers import BertTokenizer, ChineseCLIPModel
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

from tests.clip_checkpoints import VOCABULARY, cached, chinese_clip_folder, sample_images
from tests.nearness import ROUNDING
from xcomp_indexer import embed
from xcomp_indexer.embed import registry
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.clip.chinese_clip import Files, load
from xcomp_indexer.embed.clip.chinese_clip_torch import ChineseClipTorch
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_protos.errors import ModelError

NEAR = 1e-4
TEXTS = ["一只猫在睡觉", "红色的房子，在海边！", "", "狗", "a red HOUSE abcd 山"]


class Reference:
    """The library as its own documentation uses it, with the processor that resizes as the authors do, by Pillow."""

    def __init__(self, folder: Path) -> None:
        self.model = ChineseCLIPModel.from_pretrained(folder)
        self.processor = ChineseCLIPImageProcessorPil.from_pretrained(folder)
        self.tokenizer = BertTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def images(self, images: list[Image.Image]) -> np.ndarray:
        inputs = self.processor(images=images, return_tensors="pt")
        return unit(self.model.get_image_features(**inputs))

    @torch.no_grad()
    def texts(self, texts: list[str]) -> np.ndarray:
        return unit(self.model.get_text_features(**self.tokenizer(texts, padding=True, return_tensors="pt")))


def unit(output: object) -> np.ndarray:
    features = getattr(output, "pooler_output", output)
    assert isinstance(features, torch.Tensor)
    return functional.normalize(features, dim=-1).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chinese_clip_folder(tmp_path_factory.mktemp("chinese_clip") / "model")


@pytest.fixture(scope="module", params=["openvino", "torch"])
def embedder(folder: Path, request: pytest.FixtureRequest) -> Embedder:
    return embed.load(f"chinese_clip:{folder}", Execution(request.param))


@pytest.fixture(scope="module")
def towers(folder: Path) -> ChineseClipTorch:
    return ChineseClipTorch(Files(registry.FAMILIES["chinese_clip"].release(f"chinese_clip:{folder}")))


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def changed(folder: Path, home: Path, file: str, said: Mapping[str, object]) -> Path:
    copy = Path(shutil.copytree(folder, home / "changed"))
    (copy / file).write_text(json.dumps({**json.loads((copy / file).read_text()), **said}))
    return copy


def test_images_get_the_vectors_of_the_library(embedder: Embedder, reference: Reference) -> None:
    vectors = embedder.encode_images(sample_images()).vectors
    assert np.abs(vectors - reference.images(sample_images())).max() < NEAR
    assert vectors.dtype == np.float32


def test_texts_get_the_vectors_of_the_library(embedder: Embedder, reference: Reference) -> None:
    assert np.abs(embedder.encode_texts(TEXTS) - reference.texts(TEXTS)).max() < NEAR


@pytest.mark.parametrize("part", ["vision_model.encoder", "text_model.encoder"])
def test_of_the_last_layer_only_the_first_token_is_computed(towers: ChineseClipTorch, part: str) -> None:
    name = "mlp.fc1" if part.startswith("vision") else "intermediate.dense"
    *_, last = (module for path, module in towers.network.get_submodule(part).named_modules() if path.endswith(name))
    shapes: list[torch.Size] = []
    watch = last.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    networks = towers.compile("fp32")
    networks.image_features([towers.pixels(picture) for picture in sample_images()])
    networks.text_features(towers.windows(TEXTS).input_ids)
    watch.remove()
    assert shapes == [(len(sample_images()) if part.startswith("vision") else len(TEXTS), 32)]


def test_the_largest_tensor_of_an_image_is_known(towers: ChineseClipTorch) -> None:
    assert towers.image_floats == 17 * 64, "16 patches and the class, each as wide as the MLP inside"


def test_pixels_are_those_of_the_authors(towers: ChineseClipTorch) -> None:
    authors = pytest.importorskip("cn_clip.clip.utils", reason="the package cn-clip is not installed")
    transform = authors.image_transform(towers.image_size)
    for picture in sample_images():
        assert (towers.pixels(picture) - transform(picture)).abs().max() < ROUNDING


def test_tokens_are_those_of_the_authors(tmp_path: Path) -> None:
    authors = pytest.importorskip("cn_clip.clip", reason="the package cn-clip is not installed")
    vocabulary = Path(authors.__file__).with_name("vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    real = chinese_clip_folder(tmp_path / "real", words=vocabulary)
    towers = Files(registry.FAMILIES["chinese_clip"].release(f"chinese_clip:{real}"))
    texts = ["一只猫在窗台上睡觉。", "杰尼龟 Pikachu 2024年", "ÜBER die Straße, naïve café", "𠮷野家\t東京\n🦊", ""]
    expected = authors.tokenize(texts)
    windows = towers.windows(texts)
    assert len(windows.input_ids) == len(texts)
    assert torch.equal(expected[:, : windows.input_ids.shape[1]], torch.from_numpy(windows.input_ids))
    assert not expected[:, windows.input_ids.shape[1] :].any()


def test_a_batch_gives_what_single_calls_give(embedder: Embedder) -> None:
    many = sample_images() * 5  # more than a batch of the CPU
    singly = np.concatenate([embedder.encode_images([image]).vectors for image in many])
    assert np.abs(embedder.encode_images(many).vectors - singly).max() < 1e-5
    singly = np.concatenate([embedder.encode_texts([text]) for text in TEXTS])
    assert np.abs(embedder.encode_texts(TEXTS) - singly).max() < 1e-5


def test_a_long_text_is_the_weighted_mean_of_its_windows(embedder: Embedder, reference: Reference) -> None:
    text = "一只猫在睡觉" * 20  # 120 tokens in windows of 50, 50 and 20
    parts = reference.texts([text[:50], text[50:100], text[100:]])
    expected = (parts * np.array([[50], [50], [20]])).sum(axis=0)
    assert np.abs(embedder.encode_texts([text])[0] - expected / np.linalg.norm(expected)).max() < NEAR


def test_marks_in_a_text_are_characters(towers: ChineseClipTorch) -> None:
    marks = {VOCABULARY.index(word) for word in ("[CLS]", "[SEP]", "[PAD]", "[MASK]")}
    assert not marks & set(towers.windows(["猫[SEP][MASK]狗[CLS][PAD]"]).input_ids[0, 1:-1].tolist())


def test_any_text_gets_a_vector(embedder: Embedder) -> None:
    vectors = embedder.encode_texts(["\ud800", "\x00", "a" * 20_000, "🦊" * 500])
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    images, texts = embedder.encode_images(sample_images()).vectors, embedder.encode_texts(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        seen = [pool.submit(embedder.encode_images, sample_images()) for _ in range(8)]
        read = [pool.submit(embedder.encode_texts, TEXTS) for _ in range(16)]
        assert all(np.abs(each.result().vectors - images).max() < 1e-5 for each in seen)
        assert all(np.abs(each.result() - texts).max() < 1e-5 for each in read)


def test_bf16_keeps_the_vectors(folder: Path, embedder: Embedder) -> None:
    half = load(registry.FAMILIES["chinese_clip"].release(f"chinese_clip:{folder}"), Execution("torch", "bf16"))
    exact = np.concatenate([embedder.encode_images(sample_images()).vectors, embedder.encode_texts(TEXTS)])
    rough = np.concatenate([half.encode_images(sample_images()).vectors, half.encode_texts(TEXTS)])
    assert (exact * rough).sum(axis=1).min() > 0.999


def test_safetensors_give_the_same_vectors(tmp_path: Path, embedder: Embedder) -> None:
    safe = embed.load(f"chinese_clip:{chinese_clip_folder(tmp_path / 'safe', safe=True)}")
    assert np.abs(safe.encode_texts(TEXTS) - embedder.encode_texts(TEXTS)).max() < ROUNDING


def test_a_model_of_the_hubs_cache_is_named_with_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, embedder: Embedder
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = cached(folder, tmp_path, "org/tiny")
    fetched = embed.load("chinese_clip:org/tiny")
    assert fetched.name == f"chinese_clip:org/tiny@{commit}"
    assert fetched.digest == embed.load(fetched.name).digest == embedder.digest
    assert fetched.languages == {"zh"}


def test_other_weights_have_another_digest(tmp_path: Path, embedder: Embedder) -> None:
    assert embed.load(f"chinese_clip:{chinese_clip_folder(tmp_path / 'other', seed=1)}").digest != embedder.digest


@pytest.mark.parametrize("size", [32, {"height": 32, "width": 32}])
def test_both_ways_of_writing_the_size_are_read(folder: Path, tmp_path: Path, size: object, embedder: Embedder) -> None:
    other = changed(folder, tmp_path, "preprocessor_config.json", {"size": size})
    vectors = embed.load(f"chinese_clip:{other}").encode_images(sample_images()).vectors
    assert np.abs(vectors - embedder.encode_images(sample_images()).vectors).max() < ROUNDING


@pytest.mark.parametrize(
    "said",
    [
        {"size": {"height": 64, "width": 64}},
        {"size": {"shortest_edge": 32}},
        {"do_center_crop": True},
        {"do_normalize": False},
        {"do_resize": False},
        {"do_rescale": False},
        {"rescale_factor": 1.0},
        {"resample": 2},
        {"image_mean": [0.5]},
        {"image_std": [0, 0, 0]},
    ],
)
def test_a_wrong_preprocessor_is_refused(folder: Path, tmp_path: Path, said: dict[str, object]) -> None:
    other = changed(folder, tmp_path, "preprocessor_config.json", said)
    with pytest.raises(ModelError, match=next(iter(said))):
        embed.load(f"chinese_clip:{other}")


@pytest.mark.parametrize("content", ["", "[]", "3", "no json"])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_damaged_configuration_is_one_line(folder: Path, tmp_path: Path, file: str, content: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (other / file).write_text(content)
    with pytest.raises(ModelError) as raised:
        embed.load(f"chinese_clip:{other}")
    assert "\n" not in str(raised.value)


def test_a_wrong_width_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"chinese_clip:{changed(folder, tmp_path, 'config.json', {'projection_dim': 48})}")


def test_weights_that_lack_a_tensor_are_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "lacking"))
    state = torch.load(other / "pytorch_model.bin", weights_only=True)
    del state["text_projection.weight"]
    torch.save(state, other / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"lacks 1 tensors of the network, text_projection.weight"):
        embed.load(f"chinese_clip:{other}")


@pytest.mark.parametrize("safe", [True, False])
def test_weights_cut_short_are_refused(tmp_path: Path, safe: bool) -> None:
    folder = chinese_clip_folder(tmp_path / "cut", safe=safe)
    weights = folder / ("model.safetensors" if safe else "pytorch_model.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"chinese_clip:{folder}")


@pytest.mark.parametrize("words", [["a", "b"], [], [*VOCABULARY, "more"]])
def test_a_vocabulary_of_another_model_is_refused(folder: Path, tmp_path: Path, words: list[str]) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    (other / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    with pytest.raises(ModelError, match="another"):
        embed.load(f"chinese_clip:{other}")


def test_the_fast_last_block_keeps_the_vectors_and_can_be_turned_off(folder: Path) -> None:
    release = registry.FAMILIES["chinese_clip"].release(f"chinese_clip:{folder}")
    fast, plain = load(release, Execution("torch")), load(release, Execution("torch"), fast=False)
    assert (
        np.abs(fast.encode_images(sample_images()).vectors - plain.encode_images(sample_images()).vectors).max() < NEAR
    )
    assert np.abs(fast.encode_texts(TEXTS) - plain.encode_texts(TEXTS)).max() < NEAR
