"""What was run on what, in a few words: data, seeds, steps, machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(result: Mapping[str, Any]) -> str:
    """What was run on what, in one line: data, seeds, steps, machine, versions, date."""
    data = result.get("data") or {}
    machine = result.get("machine") or {}
    seeds = max((len(row["seeds"]) for row in result["rows"]), default=0)
    parts = [
        data_words(data),
        f"{seeds} seed{'s' if seeds != 1 else ''}",
        _steps_words(result),
        machine_words(machine),
        f"torch {result['torch']}" if result.get("torch") else "",
        f"commit {result['commit']}" if result.get("commit") else "",
        str(result.get("started") or "")[:10],
    ]
    return "; ".join(part for part in parts if part)


def _steps_words(result: Mapping[str, Any]) -> str:
    """How long the training was, without which an accuracy says little."""
    steps = sorted({run["steps"] for row in result["rows"] for run in row["seeds"] if run.get("steps")})
    return f"{' or '.join(map(str, steps))} steps" if steps else ""


def data_words(data: Mapping[str, Any]) -> str:
    """ "digits, 200 training and 797 test images, 10 classes"."""
    if not data:
        return ""
    words = str(data.get("name", "data"))
    if data.get("train") is not None and data.get("test") is not None:
        words += f", {data['train']} training and {data['test']} test images"
    if data.get("classes") is not None:
        words += f", {data['classes']} classes"
    return words


def machine_words(machine: Mapping[str, Any]) -> str:
    """The machine in a few words: device or processor, threads."""
    device = machine.get("device")
    name = machine.get("processor") if device in (None, "cpu") else device
    threads = machine.get("threads")
    return ", ".join(
        str(part) for part in (name, f"{threads} thread{'s' if threads != 1 else ''}" if threads else None) if part
    )
