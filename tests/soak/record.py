"""Keeps the last result of every long proof in docs/soak.md, one row each."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "soak.md"


def keep(proof: str, *, result: str, size: int, seed: int, seconds: float, page: Path = PAGE) -> None:
    """Writes or rewrites the row of a proof; the text around the table stays."""
    today = datetime.now(UTC).date().isoformat()
    cells = (f"`{proof}`", result, f"{size:,}", str(seed), f"{seconds:.0f} s", machine.name(), revision(), today)
    lines = page.read_text(encoding="utf-8").splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    others = [line for line in lines[head + 1 :] if not line.startswith(f"| `{proof}` |")]
    rows = [line for line in others if line.startswith("|")]
    rest = [line for line in others if not line.startswith("|")]
    rows = sorted([*rows, f"| {' | '.join(cells)} |"])
    page.write_text("\n".join([*lines[: head + 1], *rows, *rest]) + "\n", encoding="utf-8")


def revision() -> str:
    """Returns the git revision that is proved; a plus says that files were changed since."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/soak.md")
    return commit + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
