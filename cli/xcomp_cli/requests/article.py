"""Builds the options of an article for the composer."""

from xcomp_cli.options import LanguageOption, parse_text
from xcomp_protos import common_pb2 as common
from xcomp_protos import composer_pb2 as pb


def article_options(
    *,
    repo: str,
    profile: str = "",
    model: str = "",
    lang: LanguageOption = LanguageOption.AUTO,
    seed: int = 0,
    k: int = 0,
    where: list[str] | None = None,
    images: int | None = None,
    max_images: int | None = None,
    allow_restricted: bool = False,
    pool: int | None = None,
    must_use: list[str] | None = None,
    exclude: list[str] | None = None,
    writer: str = "",
) -> pb.Options:
    """Builds the message; omits bounds of None."""
    return pb.Options(
        repository=repo,
        profile=profile,
        model=model,
        language=language_value(lang),
        seed=seed,
        k=k,
        where=[parse_text(each, name="--where") for each in where or ()],
        images=images,
        max_images=max_images,
        allow_restricted=allow_restricted,
        pool=pool or 0,
        must_use_ids=must_use or (),
        exclude_ids=exclude or (),
        writer_model=writer,
    )


def language_value(name: str) -> common.Language.ValueType:
    """Returns the enum value for `auto`, `en`, `zh` or `all`."""
    return common.Language.Value("LANGUAGE_UNSPECIFIED" if name == "auto" else f"LANGUAGE_{name.upper()}")
