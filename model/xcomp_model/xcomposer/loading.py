"""From the name of a model to a model that answers: find the folder, check that it fits, and load it."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # its errors come from this module

from xcomp_model.base import ModelFailure, Prompt, Prompts, Runtime
from xcomp_model.xcomposer.architecture.config import Config, XComposer1Config, read_config
from xcomp_model.xcomposer.architecture.xcomposer1 import HalfPrecisionRotary
from xcomp_model.xcomposer.model import ModelInfo, XComposer
from xcomp_model.xcomposer.prompts import v1, v2
from xcomp_model.xcomposer.prompts.common import TRAINED, UNPROVEN_ENGLISH
from xcomp_model.xcomposer.runtime.device import find_placement, unused_bytes
from xcomp_model.xcomposer.runtime.memory_plan import FEATURES_BYTES, MemoryPlan, make_plan, prompt_cache_bytes
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Tokenizer
from xcomp_model.xcomposer.weights.checkpoint import find_shards
from xcomp_model.xcomposer.weights.convert import convert, load

_FILES = ("*.json", "tokenizer.model", "*.safetensors", "*.bin")
_ROOM_TO_WRITE = 4096  # the answer of version 2 beside a full prompt of the release; the rotary table reaches 32768
_SAMPLE_BYTES = 1 << 20


def open_model(name: str, runtime: Runtime) -> XComposer:
    """Loads a release by hub id or folder.

    Raises:
        ModelFailure: it is not found, cannot be fetched or read, or does not fit on this machine.
    """
    plan = plan_model(name, runtime)  # before fetching weights that would not fit
    if plan.headroom < 0:
        raise ModelFailure(plan.refusal())
    folder = find_folder(name)
    config = read_config(folder)
    placement = find_placement(runtime.device, runtime.precision)
    is_reference = runtime.procedure == "reference"
    marks = v1.MARKS if isinstance(config, XComposer1Config) else v2.MARKS
    tokenizer = Tokenizer(folder / "tokenizer.model", marks)
    network = load(folder, placement)
    if is_reference and isinstance(config, XComposer1Config):
        head_dim = config.llm.hidden_size // config.llm.num_attention_heads
        network.llm.model.rotary_emb = HalfPrecisionRotary(head_dim=head_dim, theta=10000.0).to(placement.main)
    layers = [layer.self_attn.q_proj.weight.device for layer in network.llm.model.layers]
    prompts_bytes = runtime.prompts_bytes or prompt_cache_bytes(plan, layers, unused_bytes)
    runner = Runner(network, placement, features_bytes=FEATURES_BYTES, prompts_bytes=prompts_bytes)
    info = _model_info(name, folder, config, is_reference=is_reference)
    return XComposer(runner, tokenizer, info, build_prompts=_prompts_builder(config, runtime))


def plan_model(name: str, runtime: Runtime) -> MemoryPlan:
    """Counts the memory of a release; for a hub id, only the configuration is fetched. Raises like `open_model`."""
    folder = _find_local(name) or _fetch(_fetch_config, name)
    config = read_config(folder)
    placement = find_placement(runtime.device, runtime.precision)
    context = _context_tokens(config)
    return make_plan(name, config, placement, context_tokens=context, prompts_bytes=runtime.prompts_bytes)


def convert_model(name: str, destination: Path, *, precision: str = "fp16") -> None:
    """Writes a release as a folder that loads without conversion: safetensors, merged, un-fused and unpacked.

    Raises:
        ModelFailure: the release is not found or wrong, or the destination is not empty or full.
    """
    convert(find_folder(name), destination, dtype=find_placement("cpu", precision).dtype)


def find_folder(name: str) -> Path:
    """Returns the folder of a model; fetches it from the hub if it is not local."""
    return _find_local(name) or _fetch(
        lambda repository, revision: Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_FILES))
        ),
        name,
    )


def compute_digest(folder: Path) -> str:
    """Returns a digest of names, sizes and samples of the files; it tells weights apart, but proves no integrity."""
    result = hashlib.sha256()
    for path in sorted([folder / "config.json", folder / "tokenizer.model", *find_shards(folder)]):
        size = path.stat().st_size
        result.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            result.update(file.read(_SAMPLE_BYTES))
            file.seek(max(size - _SAMPLE_BYTES, 0))
            result.update(file.read(_SAMPLE_BYTES))
    return result.hexdigest()


def _model_info(name: str, folder: Path, config: Config, *, is_reference: bool) -> ModelInfo:
    family = v1 if isinstance(config, XComposer1Config) else v2
    return ModelInfo(
        name=name,
        digest=compute_digest(folder),
        context_tokens=_context_tokens(config),
        ends=family.ENDS,
        lead_ins=family.LEAD_INS,
        is_reference=is_reference,
    )


def _prompts_builder(config: Config, runtime: Runtime) -> Callable[[Callable[[Prompt], int]], Prompts]:
    templates = TRAINED if runtime.wording == "trained" else UNPROVEN_ENGLISH
    is_reference = runtime.procedure == "reference"

    def build(count: Callable[[Prompt], int]) -> Prompts:
        context = _context_tokens(config)
        if isinstance(config, XComposer1Config):
            return v1.Prompts1(count, context_tokens=context, is_reference=is_reference, templates=templates)
        return v2.Prompts2(
            count,
            context_tokens=context,
            prompt_tokens=config.context_tokens if is_reference else None,
            meta=v2.META if config.patches <= v2.PATCHES_TO_COMPOSE else v2.META_VL,
            is_reference=is_reference,
            templates=templates,
        )

    return build


def _context_tokens(config: Config) -> int:
    return config.context_tokens + (0 if isinstance(config, XComposer1Config) else _ROOM_TO_WRITE)


def _find_local(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
    except (ValueError, RuntimeError):  # the name cannot be a path, or its user has no home
        folder = Path(name)
    if os.path.isdir(folder):  # noqa: PTH112  # False for a name that is too long, where pathlib raises
        return folder
    if name.startswith(("/", ".", "~")):
        raise ModelFailure(f"{name} is not a folder")
    return None


def _fetch_config(repository: str, revision: str | None) -> Path:
    # First, so that an unreachable hub costs one wait.
    config = hf_hub_download(repository, "config.json", revision=revision)
    with suppress(EntryNotFoundError):  # only quantised models have it
        hf_hub_download(repository, "quantize_config.json", revision=revision)
    return Path(config).parent


def _fetch(fetch: Callable[[str, str | None], Path], name: str) -> Path:
    repository, _, revision = name.partition("@")
    repository = repository if "/" in repository else f"internlm/{repository}"
    try:
        return fetch(repository, revision or None)
    except LocalEntryNotFoundError as error:
        raise ModelFailure(f"{repository} is not here and the hub cannot be reached: name a local folder") from error
    except RepositoryNotFoundError as error:
        raise ModelFailure(f"the hub has no model {repository}, or keeps it private") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise ModelFailure(f"{repository} cannot be fetched: {str(error).strip().splitlines()[0]}") from error
