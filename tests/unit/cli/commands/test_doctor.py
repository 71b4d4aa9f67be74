"""What `xcomp doctor` finds, and that every fault comes with a way to fix it."""

import socket
from pathlib import Path

import pytest

from tests.scripted import raising, running, scripted_service
from xcomp_cli.commands import doctor
from xcomp_cli.diagnostics import machine
from xcomp_cli.diagnostics.machine import Finding
from xcomp_protos.errors import Unavailable


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    """An empty home and nothing in the environment."""
    for name in ("TOKEN_FILE", "PROFILE", "INDEXER", "COMPOSER", "TLS_CA", "TLS_CLIENT_CERT", "TLS_CLIENT_KEY"):
        monkeypatch.delenv(f"XCOMP_{name}", raising=False)
    monkeypatch.setenv("XCOMP_HOME", str(short / "home"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def by_name(findings: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}  # type: ignore[attr-defined]


def test_a_sound_home_has_no_fault() -> None:
    found = by_name(machine.check_home())
    assert not any(finding.fault for finding in found.values())
    assert "private socket" in found["sockets"].fact


def test_a_folder_that_others_may_enter_is_named_with_its_fix(short: Path) -> None:
    by_name(machine.check_home())
    (short / "home" / "run").chmod(0o755)
    found = by_name(machine.check_home())["permissions"]
    assert found.fault
    assert "chmod 700" in found.fact


def test_a_full_disk_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FREE_BYTES", 10**18)
    found = by_name(machine.check_home())["home"]
    assert found.fault
    assert "XCOMP_HOME" in found.fact


def test_a_path_too_long_for_sockets_is_said(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setenv("XCOMP_HOME", str(short / ("x" * 120)))
    assert "too long" in by_name(machine.check_home())["sockets"].fact


@pytest.mark.parametrize(
    ("mode", "content", "fault"),
    [(0o600, "secret-of-the-test", ""), (0o644, "secret-of-the-test", "chmod 600"), (0o600, "", "empty")],
)
def test_a_token_file_must_be_private_and_hold_a_token(
    mode: int, content: str, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    monkeypatch.setenv("XCOMP_TOKEN_FILE", str(file))
    found = by_name(machine.check_secrets())["token"]
    assert (found.fault, fault in found.fact, "secret" in found.fact) == (bool(fault), True, False)


def test_certificates_that_cannot_be_read_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "tls" not in by_name(machine.check_secrets())
    monkeypatch.setenv("XCOMP_TLS_CA", "/nonexistent.pem")
    found = by_name(machine.check_secrets())["tls"]
    assert found.fault
    assert "XCOMP_TLS_CA" in found.fact


def test_missing_parts_matter_to_local_servers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LIBRARIES", {"indexer": ("no_such_library",), "lite": ("no_such_library",)})
    local, remote = by_name(machine.check_extras(local=True)), by_name(machine.check_extras(local=False))
    assert "pip install 'xcomp[indexer]'" in local["indexer"].fact
    assert [local["indexer"].fault, local["lite"].fault, remote["indexer"].fault] == [True, False, False]
    assert remote["indexer"].fact.startswith("not installed (no_such_library); if it is needed: pip install")


def test_models_of_the_profile_asked_for_must_be_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XCOMP_PROFILE", "color")
    assert not any(finding.fault for finding in machine.check_models())
    monkeypatch.delenv("XCOMP_PROFILE")
    found = by_name(machine.check_models())["default profile"]
    assert found.fault
    assert "xcomp models pull clip" in found.fact
    assert "XCOMP_PROFILE=lite" in found.fact


def test_a_taken_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(machine, "PORTS", {"indexer": taken.getsockname()[1]})
        assert "is taken" in by_name(machine.check_ports())["port of the indexer"].fact
    assert "is free" in by_name(machine.check_ports())["port of the indexer"].fact


@pytest.mark.parametrize(("built", "fault"), [("2.6.0+cpu", True), ("2.6.0+cu124", False)])
def test_a_gpu_that_torch_cannot_use_is_a_fault(
    built: str, fault: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path)
    monkeypatch.setattr(machine, "version", lambda _: built)
    assert by_name(machine.check_gpu())["gpu"].fault is fault


@pytest.mark.parametrize(("server", "fault"), [(100.0, False), (104.0, False), (200.0, True), (10.0, True)])
def test_a_clock_that_is_off_is_a_fault(server: float, fault: bool) -> None:
    found = doctor._check_clock(server, 99.0, 101.0)
    assert found.fault is fault
    assert ("set the time" in found.fact) is fault


def test_a_server_of_another_version_is_a_fault() -> None:
    with running(scripted_service()) as server:
        found = by_name(doctor._check_indexer(server.address))["indexer"]
    assert found.fault
    assert "install the same on both sides" in found.fact


def test_a_server_that_does_not_answer_is_a_fault() -> None:
    service = scripted_service()
    service.describe = raising(Unavailable("the store does not answer: start it"))
    with running(service) as server:
        found = by_name(doctor._check_indexer(server.address))["indexer"]
    assert (found.fault, found.fact) == (True, "the store does not answer: start it")
