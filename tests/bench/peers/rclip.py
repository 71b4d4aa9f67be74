"""What `rclip` does to a folder that it sees for the first time."""

import sys
import time
from functools import partial
from pathlib import Path

sys.path.pop(0)  # else this file is what it imports

import open_clip  # type: ignore[import-untyped]

created = open_clip.create_model_and_transforms
open_clip.create_model_and_transforms = lambda name, pretrained, **rest: created("ViT-B-32", **rest)

from rclip import main  # type: ignore[import-not-found]  # noqa: E402

photos = sys.argv[1]
rclip, model, _ = main.init_rclip(photos, indexing_batch_size=8, no_indexing=True)
model._model  # noqa: B018  # loads it
ensure = partial(rclip.ensure_index, photos)
begun = time.monotonic()
ensure()
print(len([*Path(photos).iterdir()]) / (time.monotonic() - begun))
