"""Where a run's results come from: command, config, versions, machine, and hashes of what it wrote."""

import shlex
from typing import Any, List, Tuple

from .run import Run
from .text import escape

__all__ = ["provenance_rows"]


def provenance_rows(run: Run) -> List[Tuple[str, str]]:
    """Return (name, HTML) of all that the manifest knows about how the run was made."""
    manifest = run.manifest
    rows = [
        ("initial weights", _command(manifest.get("weights_command"))),
        ("command", _command(manifest.get("command"))),
        ("config", _code(manifest.get("config_file"))),
        ("seed", _code(manifest.get("seed"))),
        ("tested on", escape(", ".join(run.test_datasets))),
        ("versions", _listing(manifest.get("versions"))),
        ("machine", _listing(manifest.get("machine"))),
    ]
    assembled = manifest.get("assembled") or {}
    if assembled.get("from"):
        rows.append(("final network", _listing(assembled["from"])))
    if assembled.get("sha256"):
        rows.append(("model_final.pth", _code(f"sha256 {assembled['sha256']}")))
    for step in manifest["steps"]:
        model = (step.get("outputs") or {}).get("model") or {}
        if model.get("sha256"):
            rows.append((f"weights of {step['name']}", _code(f"sha256 {model['sha256']}")))
    return [(name, html) for name, html in rows if html]


def _command(words: Any) -> str:
    return _code(shlex.join(map(str, words)) if isinstance(words, list) else words)


def _code(value: Any) -> str:
    return "" if value in (None, "") else f"<code>{escape(str(value))}</code>"


def _listing(values: Any) -> str:
    if not isinstance(values, dict):
        return _code(values)
    return "<br>".join(
        f"{escape(str(name))}: {escape(str(value))}" for name, value in values.items() if value is not None
    )
