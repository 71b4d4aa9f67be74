"""`clip-retrieval inference` over a folder: its own reader, batches of 256 cut to what there is, vectors to a file."""

import sys
import time
from pathlib import Path

sys.path.pop(0)  # else this file is what it imports

import open_clip  # type: ignore[import-untyped]

created = open_clip.create_model_and_transforms
open_clip.create_model_and_transforms = lambda name, **_: created(name)

from clip_retrieval.clip_inference import mapper  # type: ignore[import-not-found]  # noqa: E402
from clip_retrieval.clip_inference.main import main  # type: ignore[import-not-found]  # noqa: E402

photos, _, work = sys.argv[1:]
begun = 0.0
loaded = mapper.ClipMapper.__init__


def timed(self: object, *arguments: object, **named: object) -> None:
    """Begins to count once the model is there."""
    global begun
    loaded(self, *arguments, **named)
    begun = time.monotonic()


mapper.ClipMapper.__init__ = timed
main(
    input_dataset=photos,
    output_folder=str(Path(work, "out")),
    clip_model="open_clip:ViT-B-32/none",
    batch_size=16,
    num_prepro_workers=1,
    enable_text=False,
    use_jit=False,
)
print(len([*Path(photos).iterdir()]) / (time.monotonic() - begun))
