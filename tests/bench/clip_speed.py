"""How fast the models of profile `clip` are on both engines: `taskset -c 0 python -m tests.bench.clip_speed`.

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
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.engine import openvino
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_protos.machine import core_count

EXECUTIONS = tuple(Execution(engine, precision) for precision in ("fp32", "bf16") for engine in ("torch", "openvino"))
IMAGES = 32
SIZE = (672, 448)  # as decoding leaves a photo of 3:2 for an input of 224
EN = [f"a red motorcycle in front of garage number {number}" for number in range(32)]
ZH = [f"{number}号车库前的一辆红色摩托车" for number in range(32)]


def main() -> None:
    """Prints the table."""
    print(machine.line("taskset -c 0 python -m tests.bench.clip_speed"))
    print(
        f"torch {torch.__version__}, OpenVINO {openvino.version()}, {core_count()} core(s),"
        f" {IMAGES} images of {SIZE[0]}x{SIZE[1]}\n"
    )
    print("| model | engine | load s | img/s | texts/s | one text ms | cosine to torch fp32 |")
    print("|---|---|---|---|---|---|---|")
    torch.set_num_threads(core_count())
    with tempfile.TemporaryDirectory() as home:
        _measure("open_clip ViT-B-32", f"open_clip:{open_clip_b32(Path(home) / 'en')}", EN)
        _measure("Chinese-CLIP ViT-B/16", f"chinese_clip:{chinese_clip(Path(home) / 'zh')}", ZH)


def _measure(name: str, model: str, texts: list[str]) -> None:
    images = [_make_image(seed) for seed in range(IMAGES)]
    exact: list[np.ndarray] = []
    for execution in EXECUTIONS:
        if execution.engine == "openvino" and execution.precision == "bf16" and not openvino.has_bf16():
            print(f"| {name} | openvino bf16 | not measured: this processor has no bf16 | | | | |")
            continue
        begun = time.process_time()
        embedder = embed.load(model, execution)
        loading = time.process_time() - begun
        vectors = [embedder.encode_images(images).vectors, embedder.encode_texts(texts)]
        exact = exact or vectors
        cosine = min(float((one * other).sum(axis=1).min()) for one, other in zip(vectors, exact, strict=True))
        seen = IMAGES / _seconds(partial(embedder.encode_images, images))
        read = len(texts) / _seconds(partial(embedder.encode_texts, texts))
        one = 1000 * _seconds(partial(_read_singly, embedder, texts[:8])) / 8
        print(
            f"| {name} | {embedder.runs_on} | {loading:.1f} | {seen:.1f} | {read:.1f} | {one:.1f} | {cosine:.5f} |",
            flush=True,
        )


def _read_singly(embedder: Embedder, texts: list[str]) -> None:
    for text in texts:
        embedder.encode_texts([text])


def _seconds(run: Callable[[], object]) -> float:
    run()
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _make_image(seed: int) -> Image.Image:
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
