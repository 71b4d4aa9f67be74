import json

import open_clip  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.open_clip_tags import collect
from xcomp_indexer.embed.clip.openclip_config import Configuration
from xcomp_indexer.embed.weights import sources


def test_the_list_of_tags_is_the_librarys() -> None:
    assert json.loads(json.dumps(collect())) == json.loads(sources.TAGS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "tag",
    [
        "ViT-B-32/laion2b_s34b_b79k",
        "ViT-L-14/laion2b_s32b_b82k",
        "ViT-H-14/laion2b_s32b_b79k",
        "ViT-B-32-quickgelu/openai",
    ],
)
def test_the_usual_tags_need_no_library(tag: str) -> None:
    assert sources.find_tag(*tag.split("/")) is not None


@pytest.mark.parametrize("architecture", ["ViT-B-16-SigLIP2", "coca_ViT-B-32", "RN50", "convnext_base", "EVA02-B-16"])
def test_other_architectures_have_no_graph(architecture: str) -> None:
    assert not Configuration(open_clip.get_model_config(architecture), {}).has_graph()
