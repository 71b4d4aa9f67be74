"""Which package may import which, where heavy libraries and the environment are touched, and what stays light."""

import ast
import json
import subprocess
import sys
from collections import Counter
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

MOST_FILES = 16  # in a folder of source, with its __init__

# Importing package: what of ours it may import, as prefixes of module names.
ARROWS = {
    "xcomp_protos": ("xcomp_protos",),
    "xcomp_model": ("xcomp_model",),
    "xcomp_indexer": ("xcomp_indexer", "xcomp_protos"),
    "xcomp_composer": ("xcomp_composer", "xcomp_model", "xcomp_protos"),
    "xcomp_cli": (
        "xcomp_cli", "xcomp_protos", "xcomp_composer.article", "xcomp_composer.bundle", "xcomp_indexer.ingest.scan",
        "xcomp_indexer.embed.registry",
    ),
}  # fmt: skip

# Sub-package or module: the others of its package that it may import. The order is from the top of docs/architecture.md
# down, so nothing imports what is above it. Modules at the root of a package are on no list: they belong to all.
WINGS: dict[str, dict[str, set[str]]] = {
    "xcomp_protos": {
        "transport": {"errors", "client"},
        "server": {"client", "telemetry", "tls", "hub", "errors"},
        "client": {"telemetry", "tls", "errors"},
        "telemetry": {"errors", "build"},
        "tls": {"errors"},
    },
    "xcomp_indexer": {
        "server": {"admin", "ingest", "search", "repository", "embed", "store", "images"},
        "admin": {"ingest", "repository", "embed", "store", "images"},
        "ingest": {"repository", "embed", "store", "images"},
        "search": {"repository", "embed", "store", "images"},
        "repository": {"embed", "store", "images"},
        "embed": {"images"},
        "store": set(),
        "images": set(),
    },
    "xcomp_composer": {
        "server": {"illustrate", "model_pool", "indexer_client", "article"},
        "illustrate": {"model_pool", "indexer_client", "article", "document"},
        "bundle": {"article", "document"},
        "model_pool": {"indexer_client"},
        "indexer_client": {"article"},
        "article": {"document"},
        "document": set(),
    },
    "xcomp_model": {
        "xcomposer": {"base", "decoding", "families"},
        "openai_api": {"base", "families"},
    },
    "xcomp_cli": {
        "commands": {
            "articles", "diagnostics", "evaluation", "indexing", "local_server", "model_catalog", "options", "output",
            "requests",
        },
        "evaluation": {"requests", "output"},
        "articles": {"local_server", "output"},
        "indexing": {"local_server", "model_catalog", "output"},
        "diagnostics": {"local_server", "output", "model_catalog"},
        "requests": {"options"},
        "local_server": {"output"},
        "output": set(),
    },
}  # fmt: skip

# The modules that run networks through torch, or ask whether it has a GPU. Nothing else of the indexer needs it.
TORCH = (
    "xcomp_indexer.embed.clip.torch_networks", "xcomp_indexer.embed.clip.openclip_torch",
    "xcomp_indexer.embed.clip.openclip_tokenizer", "xcomp_indexer.embed.clip.chinese_clip_torch",
    "xcomp_indexer.embed.clip.pooled_attention", "xcomp_indexer.embed.engine.execution",
)  # fmt: skip

# Heavy library: the modules that are about it, as prefixes.
ABOUT = {
    "torch": (*TORCH, "xcomp_model."),
    "openvino": ("xcomp_indexer.embed.engine.openvino",),
    "transformers": (*TORCH, "xcomp_model."),
    "open_clip": (*TORCH, "xcomp_indexer.embed.weights.sources", "xcomp_indexer.embed.clip.openclip_config"),
    "msgspec": ("xcomp_composer.article.serialize", "xcomp_indexer.repository.spaces"),
    "watchfiles": ("xcomp_cli.indexing.watch",),
    "prometheus_client": ("xcomp_protos.telemetry.metrics",),
    "opentelemetry": ("xcomp_protos.telemetry.tracing",),
    "huggingface_hub": (
        "xcomp_indexer.embed.", "xcomp_indexer.admin.pull_models", "xcomp_indexer.admin.verify_models", "xcomp_model.",
        "xcomp_cli.model_catalog",
    ),
    "modelscope_hub": ("xcomp_indexer.admin.pull_models",),
    "qdrant_client": ("xcomp_indexer.store.qdrant.",),
    "qdrant_edge": ("xcomp_indexer.store.edge.",),
    "grpc": (
        "xcomp_protos.", "xcomp_indexer.server.", "xcomp_indexer.store.qdrant.client", "xcomp_composer.server.",
        "xcomp_composer.indexer_client.",
    ),
}  # fmt: skip

# Package: the only modules that see protobuf messages, as prefixes. The command line is a client and may.
MESSAGES = {
    "xcomp_indexer": ("xcomp_indexer.server.",),
    "xcomp_composer": ("xcomp_composer.server.", "xcomp_composer.indexer_client.", "xcomp_composer.article.proto"),
    "xcomp_model": ("none",),
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
    assert Import("xcomp_indexer.server.service", "xcomp_indexer.server.messages", at_once=True) in imports()
    assert (
        Import("xcomp_indexer.embed.clip.openclip", "xcomp_indexer.embed.clip.openclip_torch", at_once=False)
        in imports()
    )


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


@pytest.mark.parametrize("package", WINGS)
def test_sub_packages_import_only_what_is_below_them(package: str) -> None:
    wings = WINGS[package]
    astray = {
        (each.importer, each.imported)
        for each in imports()
        for wing in [each.importer.removeprefix(f"{package}.").partition(".")[0]]
        for other in [each.imported.removeprefix(f"{package}.").partition(".")[0]]
        if wing in wings and each.imported.startswith(f"{package}.") and other != wing and "_pb2" not in other
        if other not in wings[wing]
    }
    assert not astray


@pytest.mark.parametrize("package", WINGS)
def test_no_folder_of_source_is_a_flat_hall(package: str) -> None:
    counts = Counter(path.parent for path in PACKAGES[package].rglob("*.py") if "_pb2" not in path.name)
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MOST_FILES} == {}
    folders = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")}
    assert folders - set(WINGS[package]) <= {"transport"}


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
    assert {name for name in seen if not name.startswith(MESSAGES[package])} == set()


def test_only_servers_and_the_command_line_read_the_environment() -> None:
    readers = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv")
    }
    allowed = {"xcomp_indexer.server.main", "xcomp_composer.server.main", "xcomp_protos.server.options"}
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
    "openvino",
    "qdrant_client",
    "qdrant_edge",
    "prometheus_client",
    "opentelemetry",
    "xcomp_model",
)
LIGHT = (
    ("xcomp_cli.main", (*HEAVY, "numpy", "PIL", "grpc", "google.protobuf", "rich.progress", "xcomp_indexer")),
    ("xcomp_composer.article.model", (*HEAVY, "numpy", "PIL", "grpc", "google.protobuf", "xcomp_indexer")),
    ("xcomp_composer.article.serialize", (*HEAVY, "numpy", "PIL", "google.protobuf", "xcomp_indexer")),
    ("xcomp_composer.article.proto", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_composer.bundle.writer", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_protos.client.clients", (*HEAVY, "numpy", "PIL", "xcomp_indexer")),
    ("xcomp_indexer.ingest.scan", (*HEAVY, "numpy", "PIL")),
    ("xcomp_indexer.embed.registry", (*HEAVY, "numpy", "PIL", "huggingface_hub")),
    ("xcomp_indexer.server.main", HEAVY),
    ("xcomp_composer.server.main", HEAVY[:-1]),
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


@pytest.mark.parametrize("package", WINGS)
def test_the_page_of_the_architecture_names_every_sub_package(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in PACKAGES[package].glob("*/__init__.py")} - {"transport"}
    assert {folder for folder in folders if f"`{folder}`" not in page and f"`{folder}/`" not in page} == set()


def test_every_package_says_that_it_is_typed() -> None:
    assert all((folder / "py.typed").is_file() for folder in PACKAGES.values())
