"""docker-compose.yml: against its schema and our rules, and driven from the first start to an illustrated article."""

import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import fake_hub, images
from tests.clip_checkpoints import chinese_clip_folder, open_clip_folder
from tests.e2e.compose import FILE, ROOT, Stage, networks, services
from tests.shim import Backend, Shim

OURS = {name: each for name, each in services().items() if name != "qdrant"}
LASTING = {name: each for name, each in OURS.items() if "healthcheck" in each}
FETCHING = {"models", "models-gpu"}
WAIT_S = 300
_LISTENS = "listening on "


def test_the_file_follows_the_compose_specification() -> None:
    check = str(Path(sys.executable).parent / "check-jsonschema")
    command = [check, "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_environment_name_exists() -> None:
    """Ours are named by some `--help` or read by the command line; the others belong to the libraries."""
    helps = "".join(
        subprocess.run(
            [sys.executable, "-m", f"xcomp_{name}.server.main", "--help"], capture_output=True, text=True
        ).stdout
        for name in ("indexer", "composer")
    )
    read = helps + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cli").rglob("*.py"))
    known = {*re.findall(r"XCOMP_[A-Z_]+", read), "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE"}
    used = {name for each in OURS.values() for name in each.get("environment") or ()}
    assert used
    assert used <= known


@pytest.mark.parametrize("name", services())
def test_every_container_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["stop_grace_period"] == "30s"
    assert "ports" not in service
    assert not re.search(r":latest$|^[^:]+$", service["image"]), "images are pinned"
    assert {"privileged", "pid", "ipc"}.isdisjoint(service)


def test_only_what_fetches_weights_reaches_the_internet() -> None:
    open_ = {name for name, network in networks().items() if not (network or {}).get("internal")}
    reaching = {name for name, each in services().items() if open_ & set(each.get("networks", ()))}
    assert reaching == FETCHING
    assert all(each.get("networks") or each.get("network_mode") == "none" for each in services().values())


def test_photos_are_read_only_and_volumes_are_named() -> None:
    declared = {"data", "keys", "models", "vectors"}
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source, target, *mode = re.sub(r"\$\{[^}]*\}", "./photos", volume).split(":")
            assert source in declared or source.startswith("."), (name, volume)
            assert target != "/photos" or mode == ["ro"], (name, volume)


def test_who_stays_is_asked_whether_it_works_and_waited_for() -> None:
    assert LASTING.keys() == {"indexer", "composer", "indexer-gpu", "composer-gpu"}
    for name, service in OURS.items():
        for needed, how in service.get("depends_on", {}).items():
            stays = {"indexer": "service_healthy", "composer": "service_healthy", "qdrant": "service_started"}
            expected = stays.get(needed.removesuffix("-gpu"), "service_completed_successfully")
            assert how["condition"] == expected, (name, needed)


@pytest.mark.parametrize("name", ["indexer", "composer"])
def test_dockerfiles_build_from_what_is_there(name: str) -> None:
    """What they copy exists, hashes are asked for, and no service runs as root; an engine builds them elsewhere."""
    text = (ROOT / name / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for path in source.replace("${EXTRA}", "composer").split():
            assert (ROOT / path).exists(), path
    assert text.count("--require-hashes") == text.count("-r ")
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{each}" for each in ("pyproject.toml", "requirements", "protos", "indexer", "composer")} <= set(ignored)


@pytest.mark.parametrize("extra", ["indexer", "gpu", "composer", "composer-light"])
def test_locks_hold_every_requirement_with_a_hash(extra: str) -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8").strip())
    locked = {}
    for block in blocks:
        name, version = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", block).groups()  # type: ignore[union-attr]
        assert "--hash=sha256:" in block, name
        locked[canonicalize_name(name)] = version
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional[extra], *optional["observe"]]
    for requirement in map(Requirement, wanted):
        if requirement.name == "xcomp":
            continue
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement
    assert ("torch" in locked) == (extra in ("composer", "gpu"))


def free_port() -> int:
    """Below those that a system hands out by itself, so that nothing takes it before the service does."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def started(stage: Stage, name: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A service of the file, once it is healthy."""
    said = log.read_text().count(_LISTENS) if log.exists() else 0
    process = stage.start(services()[name], log)

    def comes() -> bool:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        return log.read_text().count(_LISTENS) > said  # asked first: the check of its health is a process of its own

    try:
        deadline = time.monotonic() + WAIT_S
        while not (comes() and stage.is_healthy(services()[name])):
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def test_the_services_index_and_illustrate_and_come_back_without_a_network(tmp_path: Path) -> None:
    for name in ("keys", "models", "data", "here"):
        (tmp_path / name).mkdir()
    images.library(tmp_path / "photos", {"red.jpg": images.RED, "green.jpg": images.GREEN, "blue.jpg": images.BLUE})
    shutil.copy(ROOT / "demo" / "articles" / "two-days-without-a-plan.en.md", tmp_path / "here" / "post.md")
    ports = {name: free_port() for name in ("indexer", "composer", "indexer metrics", "composer metrics")}
    log = tmp_path / "log"
    hub = {"me/en": open_clip_folder(tmp_path / "hub" / "en"), "me/zh": chinese_clip_folder(tmp_path / "hub" / "zh")}
    backend = Backend()
    with Shim("grpc", backend=backend) as store, fake_hub.serving(hub) as address:
        stage = Stage(
            given={"HF_ENDPOINT": address},
            substitutions={
                **{f"/{name}": str(tmp_path / name) for name in ("keys", "models", "data", "photos")},
                "/tmp/xcomp": str(tmp_path / "cli"),
                "grpc://qdrant:6334": store.address,
                "clip": "en=open_clip:hf-hub:me/en,zh=chinese_clip:me/zh",
                **{f"{host}:{port}": f"127.0.0.1:{ports[place]}" for host, port, place in (
                    ("0.0.0.0", 7411, "indexer"), ("127.0.0.1", 7411, "indexer"), ("indexer", 7411, "indexer"),
                    ("0.0.0.0", 7412, "composer"), ("127.0.0.1", 7412, "composer"), ("composer", 7412, "composer"),
                    ("0.0.0.0", 9411, "indexer metrics"), ("0.0.0.0", 9412, "composer metrics"),
                )},
            },
        )  # fmt: skip
        for name in ("keys", "models"):
            done = stage.run(services()[name])
            assert done.returncode == 0, done.stderr
        token = (tmp_path / "keys" / "token").read_text()

        def xcomp(*arguments: str) -> str:
            done = stage.run(services()["xcomp"], *arguments, folder=tmp_path / "here")
            assert done.returncode == 0, (arguments, done.stderr)
            return done.stdout

        with started(stage, "indexer", log) as indexer, started(stage, "composer", log) as composer:
            summary = json.loads(xcomp("index", "server:/photos", "--json"))
            assert (summary["added"], summary["failed"]) == (3, [])
            assert len(json.loads(xcomp("search", "a red house", "--json"))["hits"]) == 3
            xcomp("illustrate", "post.md")
            assert (tmp_path / "here" / "post.illustrated" / "article.html").exists()
            for process in (composer, indexer):
                process.send_signal(signal.SIGTERM)
                assert process.wait(WAIT_S) == 0

    # No hub any more, same store: the one-shot services end well, and the others come back.
    with Shim("grpc", port=store.port, backend=backend):
        for name in ("keys", "models"):
            done = stage.run(services()[name])
            assert done.returncode == 0, done.stderr
        with started(stage, "indexer", log):
            assert len(json.loads(xcomp("search", "一只猫", "--json"))["hits"]) == 3
    said = log.read_text()
    assert "Traceback" not in said
    assert not any(word in said for word in token.split() if len(word) > 16)
