"""Both engines give a CLIP model the same name, digest and vectors; what has no graph is left to torch by name."""

from pathlib import Path

import numpy as np
import pytest

from tests.clip_checkpoints import OPEN_CLIP, chinese_clip_folder, open_clip_folder, sample_images
from xcomp_indexer import embed
from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.embed.clip import openclip
from xcomp_indexer.embed.engine.execution import Execution
from xcomp_indexer.embed.weights import sources
from xcomp_protos.errors import ModelError

NEAR = 1e-5
TEXTS = ["a red house by the sea", "Two cats &amp; a dog!", "", "红色的房子", "word " * 200]
QUICK = {**OPEN_CLIP, "model_cfg": {**OPEN_CLIP["model_cfg"], "quick_gelu": True}}  # type: ignore[dict-item]


def models(home: Path) -> list[str]:
    return [
        f"open_clip:{open_clip_folder(home / 'safe')}",
        f"open_clip:{open_clip_folder(home / 'pickled', safe=False)}",
        f"open_clip:{open_clip_folder(home / 'quick', config=QUICK)}",
        f"chinese_clip:{chinese_clip_folder(home / 'chinese')}",
        f"chinese_clip:{chinese_clip_folder(home / 'chinese_safe', safe=True)}",
    ]


def both(model: str) -> tuple[Embedder, Embedder]:
    return embed.load(model, Execution("openvino", "fp32")), embed.load(model, Execution("torch", "fp32"))


def test_both_engines_give_the_same_vectors_under_one_digest(tmp_path: Path) -> None:
    for model in models(tmp_path):
        graphs, library = both(model)
        assert (graphs.name, graphs.digest) == (library.name, library.digest)
        assert (graphs.dimension, graphs.image_size, graphs.languages) == (
            library.dimension, library.image_size, library.languages,
        )  # fmt: skip
        ours, theirs = graphs.encode_images(sample_images()).vectors, library.encode_images(sample_images()).vectors
        np.testing.assert_allclose(ours, theirs, atol=NEAR)
        np.testing.assert_allclose(graphs.encode_texts(TEXTS), library.encode_texts(TEXTS), atol=NEAR)


def test_an_embedder_says_what_runs_it(tmp_path: Path) -> None:
    graphs, library = both(f"open_clip:{open_clip_folder(tmp_path / 'model')}")
    assert graphs.runs_on == "openvino cpu fp32"
    assert library.runs_on in {"torch cpu fp32", "torch cuda fp32"}


def without(name: str, section: str, said: dict[str, object]) -> dict[str, object]:
    network = OPEN_CLIP["model_cfg"]
    assert isinstance(network, dict)
    return {**OPEN_CLIP, "model_cfg": {**network, section: {**network[section], **said}}}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("vision_cfg", {"pool_type": "avg"}),
        ("vision_cfg", {"ls_init_value": 0.5}),
        ("text_cfg", {"no_causal_mask": True}),
    ],
)
def test_an_architecture_without_a_graph_is_refused_by_openvino_and_taken_by_torch(
    tmp_path: Path, section: str, said: dict[str, object]
) -> None:
    model = f"open_clip:{open_clip_folder(tmp_path / 'other', config=without('other', section, said))}"
    with pytest.raises(ModelError, match="OpenVINO has no graph of its architecture"):
        embed.load(model, Execution("openvino"))
    assert embed.load(model).runs_on.startswith("torch")


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_openvino_refuses_damaged_weights_in_one_line(tmp_path: Path, safe: bool, keep: int) -> None:
    folder = open_clip_folder(tmp_path / "cut", safe=safe)
    weights = next(path for path in folder.iterdir() if path.suffix != ".json")
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged or of another model") as caught:
        embed.load(f"open_clip:{folder}", Execution("openvino"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [{"width": 64}, {"layers": 1}, {"layers": 3}, {"patch_size": 16}])
def test_openvino_refuses_weights_that_are_not_those_of_the_configuration(
    tmp_path: Path, said: dict[str, object]
) -> None:
    folder = open_clip_folder(tmp_path / "model")
    other = open_clip_folder(tmp_path / "other", config=without("other", "vision_cfg", said))
    (folder / "open_clip_config.json").write_bytes((other / "open_clip_config.json").read_bytes())
    with pytest.raises(ModelError, match="damaged or of another model"):
        embed.load(f"open_clip:{folder}", Execution("openvino"))


def test_a_precision_that_changes_vectors_is_not_taken_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = sources.parse_open_clip(f"open_clip:{open_clip_folder(tmp_path / 'model')}")
    compiled = openclip.OpenClipGraphs.compile

    class Rough:
        """Networks whose images have lost their first numbers."""

        def __init__(self, exact: object) -> None:
            self.text_features = exact.text_features  # type: ignore[attr-defined]
            self._exact = exact

        def image_features(self, pixels: list[object]) -> np.ndarray:
            features = np.array(self._exact.image_features(pixels))  # type: ignore[attr-defined]
            features[:, :8] = 0
            return features

    def compile_roughly(self: openclip.OpenClipGraphs, precision: str) -> object:
        exact = compiled(self, "fp32")
        return Rough(exact) if precision == "bf16" else exact

    monkeypatch.setattr(openclip.OpenClipGraphs, "compile", compile_roughly)
    embedder = openclip.load(release, Execution("openvino", "bf16"))
    assert embedder.runs_on == "openvino cpu fp32"
    assert "event=kept_fp32" in caplog.text
