"""The options that several commands share: flag, environment name, default and help in one place."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xcomp_protos.errors import InvalidRequest

Repo = Annotated[str, typer.Option("--repo", envvar="XCOMP_REPO", metavar="NAME", help="The repository.")]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        envvar="XCOMP_PROFILE",
        metavar="NAME",
        help="Models to use: clip, xcomposer, lite. By default the repository's own; clip for a new one.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else on stdout.")]
Indexer = Annotated[
    str,
    typer.Option(
        "--indexer",
        envvar="XCOMP_INDEXER",
        metavar="ADDRESS",
        help="host:port or unix:/path of a running indexer. By default a local one is found or started.",
        show_default=False,
    ),
]
Composer = Annotated[
    str,
    typer.Option(
        "--composer",
        envvar="XCOMP_COMPOSER",
        metavar="ADDRESS",
        help="host:port or unix:/path of a running composer. By default a local one is found or started.",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="EXPR", help="Only images that match EXPR; may be repeated."),
]
AllowRestricted = Annotated[
    bool, typer.Option("--allow-restricted", help="Expired, embargoed and internal images as well.")
]


def parse_text(value: str, *, name: str) -> str:
    """Returns an argument as text.

    Raises:
        InvalidRequest: its bytes are not UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"the {name} is not UTF-8: {value!r:.60}") from None
    return value


class LanguageOption(StrEnum):
    """The language of an article."""

    AUTO = "auto"
    EN = "en"
    ZH = "zh"


def _absolute_model(name: str) -> str:
    """Makes the path of a local folder absolute, because a server has another working directory."""
    is_folder = name.startswith((".", "~")) or ("/" in name and Path(name).is_dir())
    return str(Path(name).expanduser().absolute()) if is_folder else name


Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="XCOMP_MODEL",
        metavar="NAME",
        help="Composer model: retrieval, openai:MODEL, internlm/internlm-xcomposer2-7b or a relative of it, or a "
        "folder of one. By default the profile's.",
        show_default=False,
        callback=_absolute_model,
    ),
]
Lang = Annotated[LanguageOption, typer.Option("--lang", help="Language of the article.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same article.")]
Candidates = Annotated[int, typer.Option("-k", metavar="N", min=1, max=64, help="Candidates for each spot.")]
Pool = Annotated[
    int | None,
    typer.Option(
        "--pool", metavar="N", min=1, max=100, help="Hits for each spot to pick the candidates from; 4 for each."
    ),
]
MustUse = Annotated[
    list[str] | None,
    typer.Option("--must-use", metavar="ID", help="Show this image where it fits best; may be repeated."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="ID", help="Never show this image; may be repeated.")
]
Writer = Annotated[
    str,
    typer.Option(
        "--writer",
        envvar="XCOMP_WRITER",
        metavar="NAME",
        help="The model that writes, if --model only places and chooses.",
        show_default=False,
        callback=_absolute_model,
    ),
]
Images = Annotated[
    int | None, typer.Option("--images", min=0, metavar="N", help="Number of images; fewer where nothing fits.")
]
MaxImages = Annotated[int | None, typer.Option("--max-images", min=0, metavar="N", help="Most images.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the result, or a .zip.", show_default=False)
]
Zip = Annotated[bool, typer.Option("--zip", help="The result as one zip, named like its folder.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Write the images into the article itself; needs --assets.")]
Assets = Annotated[Path | None, typer.Option("--assets", metavar="DIR", help="With --in-place: folder of the images.")]
UrlPrefix = Annotated[
    str | None,
    typer.Option(
        "--url-prefix",
        metavar="P",
        help="With --in-place: prefix of links to images.",
    ),
]
Originals = Annotated[bool, typer.Option("--originals", help="Keep the bytes of the images, with all their metadata.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit status 3 if a spot stays empty.")]
