"""Which package may import which, where heavy libraries and the environment are touched, and what stays light."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {name: ROOT / folder / name for folder, name in (
    ("protos", "xcomp_protos"), ("indexer", "xcomp_indexer"), ("model", "xcomp_model"),
    ("composer", "xcomp_composer"), ("cli", "xcomp_cli"),
)}  # fmt: skip

# Importing package: what of ours it may import, as prefixes of module names.
ARROWS = {
    "xcomp_protos": ("xcomp_protos",),
    "xcomp_model": ("xcomp_model",),
    "xcomp_indexer": ("xcomp_indexer", "xcomp_protos"),
    "xcomp_composer": ("xcomp_composer", "xcomp_model", "xcomp_protos"),
    "xcomp_cli": (
        "xcomp_cli", "xcomp_protos",
        "xcomp_composer.article", "xcomp_composer.events", "xcomp_composer.manifest", "xcomp_composer.render",
        "xcomp_composer.wire", "xcomp_composer.wire_pictures", "xcomp_indexer.scan",
    ),
}  # fmt: skip

# Heavy library: the modules that are about it, as prefixes.
ABOUT = {
    "torch": ("xcomp_indexer.embed.", "xcomp_model."),
    "transformers": ("xcomp_indexer.embed.", "xcomp_model."),
    "open_clip": ("xcomp_indexer.embed.",),
    "watchfiles": ("xcomp_cli.watch",),
    "prometheus_client": ("xcomp_protos.transport.metrics",),
    "opentelemetry": ("xcomp_protos.transport.tracing",),
    "huggingface_hub": (
        "xcomp_indexer.embed.", "xcomp_indexer.pull", "xcomp_indexer.verify", "xcomp_model.", "xcomp_cli.models",
    ),
    "qdrant_client": ("xcomp_indexer.store.qdrant",),
    "qdrant_edge": ("xcomp_indexer.store.edge",),
    "grpc": (
        "xcomp_protos.", "xcomp_indexer.service", "xcomp_indexer.upkeep", "xcomp_indexer.store.qdrant_call",
        "xcomp_composer.service", "xcomp_composer.indexer",
    ),
}  # fmt: skip

# Package: the only modules that see protobuf messages. The command line is a client and may.
MESSAGES = {
    "xcomp_indexer": {
        "xcomp_indexer.service",
        "xcomp_indexer.upkeep",
        "xcomp_indexer.wire",
        "xcomp_indexer.search_wire",
        "xcomp_indexer.server",
    },
    "xcomp_model": set[str](),
}


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it happens as soon as the importing module is imported."""

    importer: str
    imported: str
    at_once: bool


@cache
def modules() -> dict[str, ast.Module]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            if "_pb2" not in path.name:
                name = ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def imports() -> tuple[Import, ...]:
    return tuple(each for name, tree in modules().items() for each in _imports(name, tree, at_once=True))


def _imports(name: str, node: ast.AST, *, at_once: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(name, alias.name, at_once) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"{name} imports relatively"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(name, whole if is_module(whole) else str(child.module), at_once)
        else:
            later = isinstance(child, ast.FunctionDef | ast.Lambda) or _for_types_only(child)
            yield from _imports(name, child, at_once=at_once and not later)


def is_module(name: str) -> bool:
    return name in modules() or ("_pb2" in name and name.startswith("xcomp_protos."))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix.rstrip('.')}.") for prefix in prefixes)


def test_the_walk_sees_every_package() -> None:
    assert {name.partition(".")[0] for name in modules()} == set(PACKAGES)
    assert Import("xcomp_indexer.service", "xcomp_indexer.wire", at_once=True) in imports()
    assert Import("xcomp_indexer.store.open", "xcomp_indexer.store.edge_stores", at_once=False) in imports()


@pytest.mark.parametrize("package", ARROWS)
def test_packages_import_along_the_arrows_only(package: str) -> None:
    astray = {
        (each.importer, each.imported)
        for each in imports()
        if each.importer.partition(".")[0] == package
        and each.imported.startswith("xcomp_")
        and not below(each.imported, ARROWS[package])
    }
    assert not astray


@pytest.mark.parametrize("library", ABOUT)
def test_heavy_libraries_are_imported_only_in_files_about_them(library: str) -> None:
    astray = {
        each.importer
        for each in imports()
        if below(each.imported, (library,)) and not each.importer.startswith(ABOUT[library])
    }
    assert not astray


@pytest.mark.parametrize("package", MESSAGES)
def test_messages_stop_at_the_service(package: str) -> None:
    seen = {each.importer for each in imports() if each.importer.startswith(package) and "_pb2" in each.imported}
    assert seen <= MESSAGES[package]


def test_only_servers_and_the_command_line_read_the_environment() -> None:
    readers = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv")
    }
    allowed = {"xcomp_indexer.server", "xcomp_composer.server", "xcomp_protos.options"}
    assert {name for name in readers if not name.startswith("xcomp_cli.")} <= allowed


def test_no_module_imports_itself_by_way_of_others() -> None:
    arrows: dict[str, set[str]] = {name: set() for name in modules()}
    for each in imports():
        if each.at_once and each.imported in arrows and each.imported != each.importer:
            arrows[each.importer].add(each.imported)
    while leaves := {name for name, targets in arrows.items() if not targets}:
        arrows = {name: targets - leaves for name, targets in arrows.items() if name not in leaves}
    assert not arrows


def test_no_folder_with_a_package_holds_other_python_files() -> None:
    strays = [path for folder in PACKAGES.values() for path in folder.parent.glob("*.py")]
    assert not strays


# Imported one after the other in one fresh process: the module, and what must not have been loaded by then.
HEAVY = (
    "torch",
    "transformers",
    "open_clip",
    "qdrant_client",
    "qdrant_edge",
    "prometheus_client",
    "opentelemetry",
    "xcomp_model",
)
LIGHT = (
    ("xcomp_cli.main", (*HEAVY, "numpy", "PIL", "grpc", "google.protobuf", "rich.progress", "xcomp_indexer")),
    ("xcomp_composer.article", (*HEAVY, "numpy", "PIL", "grpc", "google.protobuf", "xcomp_indexer")),
    ("xcomp_composer.wire", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_composer.render", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_protos.client", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_indexer.scan", (*HEAVY, "numpy", "PIL")),
    ("xcomp_indexer.server", HEAVY),
    ("xcomp_composer.server", HEAVY[:-1]),
)


def test_imports_stay_light() -> None:
    script = (
        "import importlib, json, sys\n"
        "for module, forbidden in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(module)\n"
        "    print(json.dumps([module, [each for each in forbidden if each in sys.modules]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(LIGHT)], capture_output=True, text=True, check=True)
    loaded = dict(map(json.loads, done.stdout.splitlines()))
    assert loaded == {module: [] for module, _ in LIGHT}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_of_the_architecture_names_every_file_and_no_other(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    head = "command line" if package == "xcomp_cli" else package.removeprefix("xcomp_")
    table = page.partition(f"\n| {head} | |\n")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+…?)/?`", table))
    families = tuple(name.rstrip("…") for name in named if name.endswith("…"))
    files = {file.relative_to(PACKAGES[package]) for file in PACKAGES[package].rglob("*.py") if "_pb2" not in file.name}
    whole = {file for file in files if file.parent.name in ("evaluation", "lite")}  # folders that are one thing
    words = {name for file in files for name in (file.stem, file.parent.name)} | {package}
    missing = {file.stem for file in files - whole if not file.stem.startswith("__")} - named
    assert {name for name in missing if not families or not name.startswith(families)} == set()
    assert {name for name in named if not name.endswith("…")} - words == set()
