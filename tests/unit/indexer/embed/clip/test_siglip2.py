"""One multilingual tower for both languages: SigLIP2 of open_clip in its released format, tiny and random, offline."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests import fake_modelscope
from tests.clip_checkpoints import sample_images
from xcomp_indexer import embed
from xcomp_indexer.admin.pull_models import main as pull
from xcomp_indexer.embed.base import Embedder

NEAR = 1e-4
TEXTS = ["A red HOUSE, by the sea!", "红色的房子", "red 房子", ""]
# The keys of open_clip's ViT-B-16-SigLIP2.json, small.
NETWORK = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False,
        "timm_pool": "avg", "timm_proj": "linear",
    },
    "text_cfg": {
        "context_length": 64, "vocab_size": 600, "hf_tokenizer_name": "me/siglip2",
        "tokenizer_kwargs": {"clean": "canonicalize"}, "width": 32, "heads": 2, "layers": 2, "mlp_ratio": 2.0,
        "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"},
    },
}  # fmt: skip
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("siglip2")
    (home / "open_clip_config.json").write_text(json.dumps({"model_cfg": NETWORK, "preprocess_cfg": PREPROCESS}))
    _write_tokenizer(home)
    torch.manual_seed(0)
    save_file(
        open_clip.CustomTextCLIP(**{k: v for k, v in NETWORK.items() if k != "custom_text"}).state_dict(),
        home / "open_clip_model.safetensors",
    )
    return home


def _write_tokenizer(home: Path) -> None:
    """Writes a vocabulary as Gemma has it: blanks written as ▁, and single bytes to fall back on."""
    words = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁abcdefghijklmnopqrstuvwxyz红色的房子",
    ]
    tokenizer = Tokenizer(
        models.BPE(
            {word: at for at, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(home / "tokenizer.json"))
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    said = {**marks, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "padding_side": "right"}
    (home / "tokenizer_config.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return embed.load(f"open_clip:{folder}")


def test_one_tower_understands_both_languages(embedder: Embedder) -> None:
    assert embedder.languages == {"en", "zh"}


def test_images_and_texts_get_the_vectors_of_the_library(folder: Path, embedder: Embedder) -> None:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        seen = model.encode_image(
            torch.stack([transform(picture) for picture in sample_images()]), normalize=True
        ).numpy()
        read = model.encode_text(tokenizer(TEXTS), normalize=True).numpy()
    assert np.abs(embedder.encode_images(sample_images()).vectors - seen).max() < NEAR
    assert np.abs(embedder.encode_texts(TEXTS) - read).max() < NEAR


@pytest.mark.parametrize("split", [False, True])
def test_modelscope_has_the_tokenizer_beside_the_weights_or_under_its_own_name(
    folder: Path, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    network, words = tmp_path / "network", tmp_path / "words"
    for home, pattern in ((network, "open_clip*" if split else "*"), (words, "tokenizer*")):
        home.mkdir()
        for file in folder.glob(pattern):
            shutil.copy(file, home)
    repositories = {"mirror/en": network, **({"me/siglip2": words} if split else {})}
    with fake_modelscope.serving(repositories) as address:
        assert pull(["open_clip:modelscope:mirror/en", "--modelscope", address]) == 0
    assert embed.load("open_clip:modelscope:mirror/en").digest == embedder.digest
