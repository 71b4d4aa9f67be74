"""Names of released models and where their files are looked for; nothing here imports a model library."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from xcomp_indexer import embed
from xcomp_indexer.embed import registry
from xcomp_indexer.embed.weights import cache as hub
from xcomp_indexer.embed.weights import sources
from xcomp_protos.errors import InvalidRequest, ModelError

LAION = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHINESE = "chinese_clip:OFA-Sys/chinese-clip-vit-base-patch16"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put(cache: Path, repository: str, *names: str, ref: str = "main", commit: str = COMMIT) -> Path:
    home = cache / f"models--{repository.replace('/', '--')}"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / ref).write_text(commit)
    for name in names:
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("between", ["/", "::", "__"])
def test_all_spellings_of_a_tag_mean_the_same_files(cache: Path, between: str) -> None:
    folder = put(cache, LAION, "open_clip_pytorch_model.bin")
    release = sources.parse_open_clip(f"open_clip:ViT-B-32{between}laion2b_s34b_b79k")
    assert release.find() == [folder / "open_clip_pytorch_model.bin"]
    assert release.resolve(COMMIT) == f"open_clip:ViT-B-32/laion2b_s34b_b79k@{COMMIT}"


def test_a_resolved_name_leads_to_the_same_files(cache: Path) -> None:
    put(cache, LAION, "open_clip_model.safetensors", "open_clip_config.json")
    for name in ("ViT-B-32/laion2b_s34b_b79k", f"hf-hub:{LAION}"):
        release = sources.parse_open_clip(f"open_clip:{name}")
        assert sources.parse_open_clip(release.resolve(COMMIT)).find() == release.find()


def test_safetensors_are_preferred_to_pickles(cache: Path) -> None:
    put(cache, LAION, "open_clip_pytorch_model.bin", "open_clip_model.safetensors", "open_clip_config.json")
    assert sources.parse_open_clip(f"open_clip:hf-hub:{LAION}").find()[-1].name == "open_clip_model.safetensors"


def test_a_revision_is_looked_up_by_branch_and_by_commit(cache: Path) -> None:
    put(cache, "org/model", "config.json", "preprocessor_config.json", "vocab.txt", "model.safetensors", ref="v2")
    for revision in ("v2", COMMIT):
        weights = registry.FAMILIES["chinese_clip"].release(f"chinese_clip:org/model@{revision}").find()[-1]
        assert hub.commit_of(weights) == COMMIT
    with pytest.raises(ModelError, match="at v1 is not in"):
        registry.FAMILIES["chinese_clip"].release("chinese_clip:org/model@v1").find()


@pytest.mark.parametrize("model", ["open_clip:ViT-B-32/laion2b_s34b_b79k", f"open_clip:hf-hub:{LAION}", CHINESE])
def test_what_was_never_fetched_is_an_error_with_both_ways_out(model: str) -> None:
    with pytest.raises(ModelError) as raised:
        embed.load(model)
    said = str(raised.value)
    assert "\n" not in said
    assert f"xcomp models pull {model}" in said
    assert "--profile lite" in said


def test_a_missing_file_of_a_fetched_model_is_named(cache: Path) -> None:
    put(cache, "org/model", "config.json", "preprocessor_config.json", "model.safetensors")
    with pytest.raises(ModelError, match=r"vocab.txt of org/model is not in"):
        embed.load("chinese_clip:org/model")


def test_a_folder_without_its_files_is_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no folder .*/absent"):
        embed.load(f"open_clip:{tmp_path}/absent")
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"open_clip_model.safetensors or .* is missing in"):
        embed.load(f"open_clip:{tmp_path}")


@pytest.mark.parametrize(
    "model",
    [
        "open_clip:",
        "open_clip:ViT-B-32",
        "open_clip:./here",
        "open_clip:hf-hub:../etc/passwd",
        "open_clip:hf-hub:a/b/c",
        "chinese_clip:a b",
        "chinese_clip:org/model@../../x",
        "unknown:x",
    ],
)
def test_a_name_that_names_nothing_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest):
        embed.load(model)


def test_a_missing_library_is_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "openvino" else object())
    with pytest.raises(ModelError, match=r"needs openvino: install it with pip install 'xcomp\[indexer\]'"):
        embed.load("open_clip:ViT-B-32/laion2b_s34b_b79k")


def test_a_blob_that_is_not_what_its_name_says_is_damaged(tmp_path: Path) -> None:
    blob = tmp_path / hashlib.sha256(b"weights").hexdigest()
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    blob.write_bytes(b"weights")
    assert hub.sha256(link) == blob.name
    blob.write_bytes(b"weights, cut sho")
    with pytest.raises(ModelError, match="is damaged"):
        hub.sha256(link)


def test_a_missing_model_is_noticed_before_any_large_library_is_imported() -> None:
    code = (
        "import sys\nfrom xcomp_indexer import embed\n"
        f"for model in ('open_clip:ViT-B-32/laion2b_s34b_b79k', {CHINESE!r}):\n"
        "    try: embed.load(model)\n"
        "    except embed.ModelError: pass\n"
        "print(sorted({'torch', 'open_clip', 'transformers'} & set(sys.modules)))"
    )
    environment = {"HF_HOME": "/nowhere", "PATH": ""}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout == "[]\n"
