"""Reads the user's article unchanged, and chooses where the illustrated article goes."""

import shlex
from pathlib import Path

from xcomp_cli.articles import output
from xcomp_composer.bundle.writer import read_bundle
from xcomp_protos.errors import InvalidRequest, NotFound

_FORMATS = {".txt": "text", ".html": "html", ".htm": "html", ".xhtml": "html", ".xht": "html"}
_OTHER_FORMATS = {
    ".rst": "reStructuredText", ".rest": "reStructuredText", ".adoc": "AsciiDoc", ".asciidoc": "AsciiDoc",
    ".asc": "AsciiDoc", ".org": "Org", ".textile": "Textile", ".wiki": "wiki markup", ".mediawiki": "wiki markup",
    ".tex": "LaTeX", ".latex": "LaTeX", ".typ": "Typst", ".pod": "Pod", ".creole": "Creole", ".djot": "Djot",
    ".dj": "Djot", ".ipynb": "a Jupyter notebook", ".rtf": "RTF", ".xml": "XML", ".json": "JSON", ".yaml": "YAML",
    ".yml": "YAML", ".toml": "TOML", ".csv": "CSV", ".php": "PHP", ".vue": "a Vue component", ".astro": "Astro",
    ".svelte": "a Svelte component", ".jsx": "JSX", ".tsx": "JSX", ".haml": "Haml", ".pug": "Pug", ".slim": "Slim",
    ".pdf": "PDF", ".docx": "a Word document", ".odt": "an OpenDocument text", ".epub": "an EPUB book",
}  # fmt: skip
LIMIT_BYTES = 3 * 1024 * 1024


def read(file: Path) -> tuple[str, str]:
    """Returns the text and its format.

    Raises:
        InvalidRequest: no such file, a format that is not supported, too long, or not UTF-8.
    """
    if file.is_dir():
        raise InvalidRequest(_explain_folder(file))
    if not file.is_file():
        raise InvalidRequest(f"no such article: '{file}'")
    if name := _OTHER_FORMATS.get(file.suffix.lower()):
        raise InvalidRequest(f"'{file}' is {name}, which is not supported: convert it to Markdown, HTML or text")
    content = file.read_bytes()
    if len(content) > LIMIT_BYTES:
        raise InvalidRequest(f"'{file}' has {len(content)} bytes, more than {LIMIT_BYTES}: illustrate it in parts")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"'{file}' is not UTF-8: {error.reason} at byte {error.start}") from None
    return text, _FORMATS.get(file.suffix.lower(), "markdown")


def _explain_folder(folder: Path) -> str:
    """Returns what a folder is, and what the user can do with it."""
    try:
        bundle = read_bundle(folder)
    except (NotFound, InvalidRequest):
        return f"'{folder}' is a folder: name the file of an article, Markdown, HTML or text"
    if bundle.unfilled:
        command = f"xcomp edit {shlex.quote(str(folder))} --fill"
        return f"'{folder}' is an article bundle, {len(bundle.unfilled)} of its spots empty: {command} looks again"
    file = folder / ("article.html" if bundle.format == "html" else "article.md")
    return f"'{folder}' is an article bundle without empty spots: name '{file}' to illustrate it again"


def choose_target(
    file: Path, *, out: Path | None, is_zip: bool, in_place: bool, assets: Path | None, url_prefix: str | None
) -> output.Target:
    """Returns where the illustrated article goes.

    Raises:
        InvalidRequest: options contradict each other, or a folder has files that a bundle did not write.
    """
    if in_place:
        if out or is_zip:
            raise InvalidRequest("--in-place writes into the article itself: omit --out and --zip")
        return output.in_place_target(file, assets=assets, url_prefix=url_prefix)
    if assets or url_prefix is not None:
        raise InvalidRequest("--assets and --url-prefix belong to --in-place")
    output.check_out(out)
    return output.bundle_or_zip(out, _bundle_folder(file), is_zip=is_zip, source=file.parent)


def _bundle_folder(file: Path) -> Path:
    """Returns the bundle that the article belongs to, or else a new folder beside the article."""
    if file.name in ("article.md", "article.html") and _is_bundle_of(file.parent, read(file)[1]):
        return file.parent
    return file.with_suffix(".illustrated")


def _is_bundle_of(folder: Path, form: str) -> bool:
    """Whether a folder is the bundle of an article of this format: the page of a Markdown article is not its text."""
    try:
        return read_bundle(folder).format == form
    except (NotFound, InvalidRequest):
        return False
