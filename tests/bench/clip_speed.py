"""How fast the models of profile `clip` are, fp32 and bf16: `taskset -c 0 python -m tests.bench.clip_speed`.

The networks have their true shapes and random weights, which cost what trained ones cost. Rates are per second of
processor time, so that a busy machine does not bend them: on one idle core, per second. Each model is written to a
folder and loaded from there as a released one is.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import open_clip  # type: ignore[import-untyped]  # it ships no types
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import ChineseCLIPConfig, ChineseCLIPModel

from tests.bench import machine
from tests.clip_checkpoints import CHINESE_PREPROCESSOR, MEAN, STD, VOCABULARY
from xcomp_indexer.embed import chinese_clip as chinese
from xcomp_indexer.embed import openclip, registry
from xcomp_indexer.embed.clip import ClipEmbedder, Precision
from xcomp_indexer.embed.weights import sources

IMAGES = 32
SIZE = (672, 448)  # as decoding leaves a photo of 3:2 for an input of 224
EN = [f"a red motorcycle in front of garage number {number}" for number in range(32)]
ZH = [f"{number}号车库前的一辆红色摩托车" for number in range(32)]


def main() -> None:
    """Prints the table."""
    print(machine.line("taskset -c 0 python -m tests.bench.clip_speed"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {IMAGES} images of {SIZE[0]}x{SIZE[1]}\n")
    print("| model | precision | load s | img/s | texts/s | one text ms | cosine to fp32 |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        english = sources.parse_open_clip(f"open_clip:{open_clip_b32(Path(home) / 'en')}")
        _measure("open_clip ViT-B-32", lambda precision: openclip.load(english, precision=precision), EN)
        han = registry.FAMILIES["chinese_clip"].release(f"chinese_clip:{chinese_clip(Path(home) / 'zh')}")
        _measure("Chinese-CLIP ViT-B/16", lambda precision: chinese.load(han, precision=precision), ZH)


def _measure(name: str, load: Callable[[Precision], ClipEmbedder], texts: list[str]) -> None:
    pictures = [_picture(seed) for seed in range(IMAGES)]
    exact: list[np.ndarray] = []
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        begun = time.process_time()
        embedder = load(precision)
        loading = time.process_time() - begun
        vectors = [embedder.encode_images(pictures).vectors, embedder.encode_texts(texts)]
        exact = exact or vectors
        cosine = min(float((one * other).sum(axis=1).min()) for one, other in zip(vectors, exact, strict=True))
        seen = IMAGES / _seconds(partial(embedder.encode_images, pictures))
        read = len(texts) / _seconds(partial(embedder.encode_texts, texts))
        single = _seconds(partial(embedder.encode_texts, texts[:1])) * 1000
        row = f"{loading:.1f} | {seen:.1f} | {read:.1f} | {single:.0f} | {cosine:.5f}"
        print(f"| {name} | {precision} | {row} |", flush=True)


def _seconds(run: Callable[[], object]) -> float:
    run()
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (28, 42, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC)


def open_clip_b32(folder: Path) -> Path:
    folder.mkdir()
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-B-32").state_dict(), folder / "open_clip_model.safetensors")
    return folder


def chinese_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    # Patches and words of OFA-Sys/chinese-clip-vit-base-patch16; the rest of its towers are the library's defaults.
    config = ChineseCLIPConfig(text_config={"vocab_size": 21128}, vision_config={"patch_size": 16}, projection_dim=512)
    ChineseCLIPModel(config).save_pretrained(folder)
    said = {**CHINESE_PREPROCESSOR, "size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    words = [*VOCABULARY, *sorted(set("".join(ZH)) - set(VOCABULARY))]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
