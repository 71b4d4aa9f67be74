"""Reads docker-compose.yml and runs its services as plain processes, as containers would: own command, own environment.

What differs from containers stands in one table, `Stage.substitutions`: paths of volumes, host names, ports, and the
models, which are tiny here.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Service = Mapping[str, Any]  # as YAML gives it


def services() -> Mapping[str, Service]:
    content: Mapping[str, Service] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return content


def networks() -> Mapping[str, Service]:
    content: Mapping[str, Service] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["networks"]
    return content


@dataclass(frozen=True)
class Stage:
    """Where the processes run instead of containers."""

    substitutions: Mapping[str, str]  # text in commands and environments -> text here, the longest first
    given: Mapping[str, str]  # what a user of compose has in .env

    def environment(self, service: Service) -> dict[str, str]:
        """The environment of a container: what the file says, and what the image sets."""
        image = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONUNBUFFERED": "1", "HOME": "/nonexistent"}
        said = {
            name: self._here(str(value))
            for name, value in (service.get("environment") or {}).items()
            if value is not None or name in self.given
        }
        return image | {"OMP_NUM_THREADS": "1"} | said

    def words(self, command: Sequence[str]) -> list[str]:
        """A command as it is started here."""
        return [self._here(word) for word in command]

    def run(self, service: Service, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Runs a service that ends by itself."""
        command = [*service.get("entrypoint", ()), *(arguments or service.get("command", ()))]
        return subprocess.run(
            self.words(command),
            env=self.environment(service),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, service: Service, log: Path) -> "subprocess.Popen[bytes]":
        """Starts a service that stays."""
        with open(log, "ab") as out:
            return subprocess.Popen(
                self.words(service["command"]), env=self.environment(service), cwd="/", stdout=out, stderr=out
            )

    def is_healthy(self, service: Service) -> bool:
        """Asks as the health check of the file does."""
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            self.words(command), env=self.environment(service), capture_output=True, timeout=120, check=False
        )
        return done.returncode == 0

    def _here(self, text: str) -> str:
        text = _VARIABLE.sub(lambda found: self.given.get(found[1], found[2] or ""), text)
        for there in sorted(self.substitutions, key=len, reverse=True):
            text = text.replace(there, self.substitutions[there])
        return text
