"""Tiny random CLIP models in the formats in which real ones are released, and the images to try them on."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import open_clip  # type: ignore[import-untyped]  # it ships no types
import skimage
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ChineseCLIPConfig, ChineseCLIPModel

torch.set_num_threads(1)  # networks this small only wait for one another

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
SIZE = 32
WIDTH = 24
_NETWORK = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
OPEN_CLIP: dict[str, object] = {
    "model_cfg": _NETWORK,
    "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
}
CHINESE_PREPROCESSOR = {
    "do_center_crop": False,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ChineseCLIPFeatureExtractor",
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
    "size": {"height": SIZE, "width": SIZE},
}
_TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_WORDS = "一只猫在睡觉红色的房子海边狗山水日出，。、！ab##abcd##cdred##house"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(_WORDS), "##a", "##b", "red", "house"]


def open_clip_folder(
    folder: Path, *, seed: int = 0, config: Mapping[str, object] = OPEN_CLIP, safe: bool = True
) -> Path:
    """Writes a model of open_clip as `push_to_hf_hub` of the library does."""
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    state = open_clip.CLIP(**config["model_cfg"]).state_dict()  # type: ignore[arg-type]  # a mapping
    if safe:
        save_file(state, folder / "open_clip_model.safetensors")
    else:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    return folder


def chinese_clip_folder(folder: Path, *, seed: int = 0, safe: bool = False, words: list[str] | None = None) -> Path:
    """Writes a Chinese-CLIP in the layout of its repositories on the hub."""
    words = VOCABULARY if words is None else words
    config = ChineseCLIPConfig(
        text_config={**_TOWER, "vocab_size": len(words), "max_position_embeddings": 64},
        vision_config={**_TOWER, "image_size": SIZE, "patch_size": 8},
        projection_dim=WIDTH,
    )
    torch.manual_seed(seed)
    model = ChineseCLIPModel(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # the library's are so small that everything looks alike
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "preprocessor_config.json").write_text(json.dumps(CHINESE_PREPROCESSOR))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def cached(folder: Path, hub: Path, repository: str, *, commit: str = "c0ffee" + 34 * "0") -> str:
    """Puts a folder into a hub cache, as a download of its main branch leaves it; returns the commit."""
    home = hub / f"models--{repository.replace('/', '--')}"
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(folder, home / "snapshots" / commit)
    return commit


def sample_images() -> list[Image.Image]:
    """Real photographs, square, wide and tall, none of them near the model's size."""
    folder = Path(skimage.__file__).parent / "data"
    square, wide, wider = (
        Image.open(folder / f"{name}.png").convert("RGB") for name in ("astronaut", "chelsea", "coffee")
    )
    return [square, wide, wider, wider.crop((100, 0, 290, 400))]
