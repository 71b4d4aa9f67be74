"""The command line: a table of the commands, imported when they are invoked, and the exit status of what they raise.

A new command is one row of `COMMANDS` and one module in `commands`; the module imports what it needs at its top.
`xcomp --help` reads the table alone, so it imports no module of a command, and no gRPC.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Annotated, cast

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from xcomp_cli.output import console
from xcomp_cli.output.console import FAILED, INTERRUPTED, UNREACHABLE, USAGE
from xcomp_protos import hub
from xcomp_protos.telemetry import api

DEBUG = "--debug"
COLLECTOR_S = 2.0  # how long a command waits for a collector at its end, unless a variable says otherwise

# Command: where it is below `xcomp_cli.commands`, as MODULE:FUNCTION or MODULE:GROUP, and the first sentence of its
# help; in the order of `xcomp --help`. A test compares the sentences with those of the commands themselves.
COMMANDS = {
    "index": ("index:index", "Brings a repository up to date with folders and files."),
    "search": ("search:search", "Finds images by words, by an image, or by both."),
    "illustrate": ("illustrate:illustrate", "Illustrates existing text, every word left as it was."),
    "compose": ("compose:compose", "Writes an article from an instruction and illustrates it."),
    "edit": ("edit:edit", "Changes an article bundle and draws it again."),
    "select": ("select:select", "Chooses the image that fits a text best."),
    "chat": ("chat:chat", "Answers a question, about images if there are any."),
    "status": (
        "status:status", "Shows the servers and the repositories, what is wrong with them and how to fix it.",
    ),
    "ps": ("ps:ps", "Lists the local servers that run, and starts none."),
    "stop": ("stop:stop", "Ends the local servers: calls are finished first, images and vectors stay."),
    "doctor": ("doctor:doctor", "Checks this installation and its servers, and says how to fix what is wrong."),
    "token": ("token:token", "Makes a token: servers read FILE with --token-file, commands with XCOMP_TOKEN_FILE."),
    "repo": ("repo:repo", "Lists, shows, makes, deletes and moves repositories."),
    "models": ("models:models", "Says what the models are, fetches and converts them."),
    "eval": ("eval:evaluate", "Measures how well images are chosen."),
    "serve": ("serve:serve", "Runs a server in the foreground."),
}  # fmt: skip

app = typer.Typer(
    help="Find your own images by what they show, and illustrate texts with them.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it starts faster and never cuts a name
    context_settings={"help_option_names": ["-h", "--help"]},
)


class LazyCommand(TyperCommand):
    """Stands in the help for a command of the table; imports the command when it is invoked."""

    def make_context(  # type: ignore[override]  # typer's public `Context` is a subclass of what it passes here
        self, info_name: str | None, args: list[str], parent: typer.Context | None = None, **extra: object
    ) -> typer.Context:
        """Returns the context of the command itself, so that its parameters are parsed and it is invoked."""
        command = typer.main.get_command(load(self.name or ""))
        return cast("typer.Context", command.make_context(info_name, args, parent, **extra))


def load(name: str) -> typer.Typer:
    """Imports a command of the table: a function becomes an application of one command, a group is one already."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"xcomp_cli.commands.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return found
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command()(found)
    return single


def _stand_in() -> None:
    raise AssertionError("the command itself is invoked")


for _name, (_, _help) in COMMANDS.items():
    app.command(_name, cls=LazyCommand, help=_help)(_stand_in)


def _print_version(wanted: bool) -> None:
    if wanted:
        from xcomp_protos.build import VERSION, build_id

        console.print_result(f"xcomp {VERSION} (build {build_id()})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Find your own images by what they show, and illustrate texts with them."""
    del version, debug  # handled before
    hub.check_endpoint(os.environ)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit status."""
    debug, rest = _without_debug(arguments)
    try:
        status = typer.main.get_command(app).main(rest or ["--help"], prog_name="xcomp", standalone_mode=False)
    except TyperException as error:
        console.fail(_usage_message(error))
        return error.exit_code
    except typer.Abort:
        console.note("nothing was done")
        return FAILED
    except _expected_errors() as error:  # evaluated only after an error, because it imports gRPC
        if debug:
            raise
        console.fail(_message(error))
        return _exit_status(error)
    if status == INTERRUPTED:
        console.note("interrupted")
    return int(status or 0)


def main() -> None:
    """Runs the command line of this process, and ends it."""
    sys.excepthook = _report_defect
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show must not fail
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own messages are not for a user
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries are not for a user, their result is
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the hub gets requests for files and no data about the user
    with _trace_command(sys.argv[1:]):
        status = run(sys.argv[1:])
    sys.exit(_flush_results(status))


def _flush_results(status: int) -> int:
    """Flushes stdout; returns the status of the command, or a failure if the results cannot be written.

    Unwritten results are then discarded: Python would try again at its end, and set a status of its own.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not status:
            console.fail(error.strerror or str(error))
        return status or FAILED
    return status


def _open_closed_streams() -> None:
    """Opens closed standard streams (`>&-`) on the null device, so that no other file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for as long as the process


class _UnsentTraces(logging.Handler):
    """Records that a trace was not sent, instead of the library's own lines on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Ignores failures that will be retried."""
        self.has_failed = self.has_failed or record.levelno >= logging.ERROR


@contextmanager
def _trace_command(arguments: Sequence[str]) -> Iterator[None]:
    """Traces the whole command if the environment asks for traces; the span has only the name of the command."""
    if not api.wants_traces(os.environ):
        yield
        return
    from xcomp_protos.telemetry import setup

    unsent = _UnsentTraces()
    logging.getLogger("opentelemetry").addHandler(unsent)
    name = next((word for word in arguments if word in COMMANDS), "help")
    has_timeout = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{of}TIMEOUT") for of in ("TRACES_", ""))
    with setup.trace_process("xcomp", timeout_s=None if has_timeout else COLLECTOR_S), api.stage(f"xcomp {name}"):
        yield
    if unsent.has_failed:
        address = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
            "OTEL_EXPORTER_OTLP_ENDPOINT", ""
        )
        console.warn(f"the trace was not sent: no collector accepted it at {console.printable(address)}")


def _without_debug(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Returns whether `--debug` is given before a `--`, and the other arguments."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != DEBUG]
    return len(options) < end, [*options, *arguments[end:]]


def _expected_errors() -> tuple[type[Exception], ...]:
    from xcomp_protos.errors import XcompError

    return (XcompError, OSError)


def _exit_status(error: Exception) -> int:
    from xcomp_protos.errors import InvalidRequest, Unavailable

    if isinstance(error, InvalidRequest):
        return USAGE
    return UNREACHABLE if isinstance(error, Unavailable) else FAILED


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _usage_message(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "xcomp"
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    return f"{message[:1].lower()}{message[1:]} (see {command} --help)"


def _report_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints an unexpected error; Python then ends with status 1."""
    if DEBUG in sys.argv:
        sys.__excepthook__(kind, error, trace)
    else:
        console.fail(f"{kind.__name__}: {error} (unexpected: {DEBUG} shows where)")
