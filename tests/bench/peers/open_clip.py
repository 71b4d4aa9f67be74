"""The loop of open_clip's README over batches of 16; vectors are kept in memory."""

import sys
import time
from pathlib import Path

sys.path.pop(0)  # else this file is what it imports

import open_clip  # type: ignore[import-untyped]
import torch
from PIL import Image

photos = sorted(Path(sys.argv[1]).iterdir())
model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
model.eval()
begun = time.monotonic()
vectors = []
with torch.no_grad():
    for at in range(0, len(photos), 16):
        batch = torch.stack([preprocess(Image.open(path)) for path in photos[at : at + 16]])
        features = model.encode_image(batch)
        vectors.append(features / features.norm(dim=-1, keepdim=True))
print(len(photos) / (time.monotonic() - begun))
