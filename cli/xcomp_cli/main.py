"""The command line: names the commands, and turns what they raise into one line and an exit status.

The modules of the commands import nothing heavy before they run, so that help comes at once.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from typer.exceptions import TyperException

from xcomp_cli.commands.chat import chat
from xcomp_cli.commands.compose import compose
from xcomp_cli.commands.doctor import doctor
from xcomp_cli.commands.edit import edit
from xcomp_cli.commands.eval import evaluate
from xcomp_cli.commands.illustrate import illustrate
from xcomp_cli.commands.index import index
from xcomp_cli.commands.models import models
from xcomp_cli.commands.repo.duplicates import duplicates
from xcomp_cli.commands.repo.maintenance import optimize, snapshot
from xcomp_cli.commands.repo.repo import repo
from xcomp_cli.commands.repo.space import space
from xcomp_cli.commands.repo.transfer import export, import_
from xcomp_cli.commands.search import search
from xcomp_cli.commands.select import select
from xcomp_cli.commands.serve import serve
from xcomp_cli.commands.status import status
from xcomp_cli.commands.token import token
from xcomp_cli.output import console
from xcomp_protos import hub
from xcomp_protos.telemetry import api

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 4, 130
DEBUG = "--debug"
COLLECTOR_S = 2.0  # that a command waits for a collector at its end, unless a variable says another time

app = typer.Typer(
    help="Find your own pictures by what they show, and illustrate texts with them.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: no name is ever cut, and it comes sooner
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(index)
app.command()(search)
app.command()(illustrate)
app.command()(compose)
app.command()(edit)
app.command()(select)
app.command()(chat)
repo.command()(export)
repo.command("import")(import_)
repo.command()(duplicates)
repo.command()(optimize)
repo.command()(snapshot)
repo.add_typer(space, name="space")
app.add_typer(repo, name="repo")
app.command()(status)
app.command()(doctor)
app.add_typer(models, name="models")
app.add_typer(evaluate, name="eval")
app.add_typer(serve, name="serve")
app.command()(token)


def _version(wanted: bool) -> None:
    if wanted:
        from xcomp_protos.build import VERSION, build_id

        console.result(f"xcomp {VERSION} (build {build_id()})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Find your own pictures by what they show, and illustrate texts with them."""
    del version, debug  # told and heeded before
    hub.check_endpoint(os.environ)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit status."""
    debug, rest = _without_debug(arguments)
    try:
        status = typer.main.get_command(app).main(rest or ["--help"], prog_name="xcomp", standalone_mode=False)
    except TyperException as error:
        console.fail(_usage(error))
        return error.exit_code
    except typer.Abort:
        console.note("nothing was done")
        return FAILED
    except _expected_errors() as error:  # evaluated only once something was raised: it imports gRPC
        if debug:
            raise
        console.fail(_message(error))
        return _status(error)
    if status == INTERRUPTED:
        console.note("interrupted")
    return int(status or 0)


def main() -> None:
    """Runs the command line of this process, and ends it."""
    sys.excepthook = _defect
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot write is no error
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own remarks are no lines for a user
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its tries are no lines for a user, what came of them is
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a hub is asked for files, and told nothing of who asks
    with _traced(sys.argv[1:]):
        status = run(sys.argv[1:])
    sys.exit(_taken(status))


def _taken(status: int) -> int:
    """Returns the status of a command whose results may be taken by nobody, on a full disk for example.

    They go nowhere then: the end of the process tries them again, and would end with a status of its own.
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
    """Lets what was closed (`>&-`) lead nowhere, so that no other file takes its number and nothing fails to print."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for as long as the process


class _Unsent(logging.Handler):
    """Notes that a trace was not sent, in place of the library's own lines on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.happened = False

    def emit(self, record: logging.LogRecord) -> None:
        """Takes no note of what will be tried again."""
        self.happened = self.happened or record.levelno >= logging.ERROR


@contextmanager
def _traced(arguments: Sequence[str]) -> Iterator[None]:
    """Spans the whole command where the environment asks for traces; the span has the command's name alone."""
    if not api.wants_traces(os.environ):
        yield
        return
    from xcomp_protos.telemetry import setup

    unsent = _Unsent()
    logging.getLogger("opentelemetry").addHandler(unsent)
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups if group.name}
    name = next((word for word in arguments if word in known), "help")
    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{of}TIMEOUT") for of in ("TRACES_", ""))
    with setup.trace_process("xcomp", timeout_s=None if named else COLLECTOR_S), api.stage(f"xcomp {name}"):
        yield
    if unsent.happened:
        place = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
            "OTEL_EXPORTER_OTLP_ENDPOINT", ""
        )
        console.warn(f"the trace was not sent: no collector took it at {console.printable(place)}")


def _without_debug(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Takes `--debug` out, wherever it stands before a `--`."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != DEBUG]
    return len(options) < end, [*options, *arguments[end:]]


def _expected_errors() -> tuple[type[Exception], ...]:
    from xcomp_protos.errors import XcompError

    return (XcompError, OSError)


def _status(error: Exception) -> int:
    from xcomp_protos.errors import InvalidRequest, Unavailable

    if isinstance(error, InvalidRequest):
        return USAGE
    return UNREACHABLE if isinstance(error, Unavailable) else FAILED


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "xcomp"
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    return f"{message[:1].lower()}{message[1:]} (see {command} --help)"


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints an error that nobody foresaw; Python then ends with status 1."""
    if DEBUG in sys.argv:
        sys.__excepthook__(kind, error, trace)
    else:
        console.fail(f"{kind.__name__}: {error} (unforeseen: {DEBUG} shows where)")
