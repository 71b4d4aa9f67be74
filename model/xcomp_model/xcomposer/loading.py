"""From a name to a model that answers: finds the folder, checks that it fits, loads it, and gives it its prompts."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # kept for those who must tell its errors

from xcomp_model.base import ModelError, Prompt, Prompts, Runtime
from xcomp_model.xcomposer.architecture.config import Config, XComposer1Config, read_config
from xcomp_model.xcomposer.architecture.rotary import HalfPrecisionRotary
from xcomp_model.xcomposer.model import ModelInfo, XComposer
from xcomp_model.xcomposer.prompts import v1, v2
from xcomp_model.xcomposer.prompts.common import TRAINED, UNPROVEN_ENGLISH
from xcomp_model.xcomposer.runtime.device import find_place, unused_bytes
from xcomp_model.xcomposer.runtime.memory_plan import FEATURES_BYTES, MemoryPlan, make_plan, prompts_room
from xcomp_model.xcomposer.runtime.runner import Runner
from xcomp_model.xcomposer.tokenizer import Tokenizer
from xcomp_model.xcomposer.weights.checkpoint import shard_files
from xcomp_model.xcomposer.weights.convert import convert, load

_FILES = ("*.json", "tokenizer.model", "*.safetensors", "*.bin")
_ROOM_TO_WRITE = 4096  # version 2 writes so much beside a full prompt of its release; its rotary table reaches 32768
_SAMPLE_BYTES = 1 << 20


def open_model(name: str, runtime: Runtime) -> XComposer:
    """Loads a release by hub id or folder.

    Raises:
        ModelError: it cannot be found, fetched, read, or held by this machine.
    """
    plan = plan_model(name, runtime)  # before weights are fetched that would not fit
    if plan.headroom < 0:
        raise ModelError(plan.refusal())
    folder = find_folder(name)
    config = read_config(folder)
    place = find_place(runtime.device, runtime.precision)
    is_reference = runtime.procedure == "reference"
    marks = v1.MARKS if isinstance(config, XComposer1Config) else v2.MARKS
    tokenizer = Tokenizer(folder / "tokenizer.model", marks)
    network = load(folder, place)
    if is_reference and isinstance(config, XComposer1Config):
        head_dim = config.llm.hidden_size // config.llm.num_attention_heads
        network.llm.model.rotary_emb = HalfPrecisionRotary(head_dim=head_dim, theta=10000.0).to(place.main)
    layers = [layer.self_attn.q_proj.weight.device for layer in network.llm.model.layers]
    prompts_bytes = runtime.prompts_bytes or prompts_room(plan, layers, unused_bytes)
    reader = Runner(network, place, features_bytes=FEATURES_BYTES, prompts_bytes=prompts_bytes)
    card = _card(name, folder, config, is_reference=is_reference)
    return XComposer(reader, tokenizer, card, prompts=_prompts(config, runtime))


def plan_model(name: str, runtime: Runtime) -> MemoryPlan:
    """Counts what a release takes; of a hub id only the configuration is fetched. Raises like `open_model`."""
    folder = _local(name) or _fetched(_config_only, name)
    config = read_config(folder)
    place = find_place(runtime.device, runtime.precision)
    context = _context_tokens(config)
    return make_plan(name, config, place, context_tokens=context, prompts_bytes=runtime.prompts_bytes)


def convert_model(name: str, destination: Path, *, precision: str = "fp16") -> None:
    """Writes a release as a clean folder: safetensors, merged, un-fused, unpacked; it loads without conversion.

    Raises:
        ModelError: the release is not found or wrong, or the destination is not empty or has no room.
    """
    convert(find_folder(name), destination, dtype=find_place("cpu", precision).dtype)


def find_folder(name: str) -> Path:
    """Returns the folder of a model, fetched from the hub where it is not local."""
    return _local(name) or _fetched(
        lambda repository, revision: Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_FILES))
        ),
        name,
    )


def digest(folder: Path) -> str:
    """Tells one set of weights from another by names, sizes and samples of the files; it proves no integrity."""
    found = hashlib.sha256()
    for path in sorted([folder / "config.json", folder / "tokenizer.model", *shard_files(folder)]):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            found.update(file.read(_SAMPLE_BYTES))
            file.seek(max(size - _SAMPLE_BYTES, 0))
            found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()


def _card(name: str, folder: Path, config: Config, *, is_reference: bool) -> ModelInfo:
    family = v1 if isinstance(config, XComposer1Config) else v2
    return ModelInfo(
        name=name,
        digest=digest(folder),
        context_tokens=_context_tokens(config),
        ends=family.ENDS,
        lead_ins=family.LEAD_INS,
        is_reference=is_reference,
    )


def _prompts(config: Config, runtime: Runtime) -> Callable[[Callable[[Prompt], int]], Prompts]:
    words = TRAINED if runtime.wording == "trained" else UNPROVEN_ENGLISH
    is_reference = runtime.procedure == "reference"

    def make(count: Callable[[Prompt], int]) -> Prompts:
        context = _context_tokens(config)
        if isinstance(config, XComposer1Config):
            return v1.Prompts1(count, context_tokens=context, is_reference=is_reference, wording=words)
        return v2.Prompts2(
            count,
            context_tokens=context,
            prompt_tokens=config.context_tokens if is_reference else None,
            meta=v2.META if config.patches <= v2.PATCHES_TO_COMPOSE else v2.META_VL,
            is_reference=is_reference,
            wording=words,
        )

    return make


def _context_tokens(config: Config) -> int:
    return config.context_tokens + (0 if isinstance(config, XComposer1Config) else _ROOM_TO_WRITE)


def _local(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
    except (ValueError, RuntimeError):  # a name that can be no path, or of a home that nobody has
        folder = Path(name)
    if os.path.isdir(folder):  # noqa: PTH112  # false for a name too long to be one, where pathlib raises
        return folder
    if name.startswith(("/", ".", "~")):
        raise ModelError(f"{name} is no folder")
    return None


def _config_only(repository: str, revision: str | None) -> Path:
    found = hf_hub_download(repository, "config.json", revision=revision)  # first: who is away is waited for once
    with suppress(EntryNotFoundError):  # only what is quantised has it
        hf_hub_download(repository, "quantize_config.json", revision=revision)
    return Path(found).parent


def _fetched(fetch: Callable[[str, str | None], Path], name: str) -> Path:
    repository, _, revision = name.partition("@")
    repository = repository if "/" in repository else f"internlm/{repository}"
    try:
        return fetch(repository, revision or None)
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{repository} is not here and the hub cannot be reached: name a local folder") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the hub has no model {repository}, or keeps it private") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise ModelError(f"{repository} cannot be fetched: {str(error).strip().splitlines()[0]}") from error
