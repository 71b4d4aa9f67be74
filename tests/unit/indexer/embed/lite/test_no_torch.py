import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "torchvision", "transformers", "open_clip", "sentence_transformers", "scipy", "sklearn")

RUN = f"""
import sys
for name in {HEAVY}:
    sys.modules[name] = None  # an import of it fails
from PIL import Image
from xcomp_indexer import embed
model = embed.load("lite")
print(model.encode_images([Image.new("RGB", (300, 200), "teal")]).vectors.shape, model.encode_texts(["猫"]).shape)
"""


def test_lite_runs_where_torch_is_not_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN], env={"HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("(1, 384) (1, 384)\n", "")
    assert list(tmp_path.iterdir()) == []
