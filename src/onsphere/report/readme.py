"""The tables of a README, generated from result files so that no number is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

from onsphere.report.codes_tables import codes_markdown, load_codes
from onsphere.report.results import load
from onsphere.report.tables import benchmarks_markdown, markdown

PARTS = ("results", "benchmarks")


def update(text: str, folder: Path) -> str:
    """The text with the parts between its markers made anew from a folder of results.

    `<!-- results:begin -->` ... `<!-- results:end -->` gets a table for every `*.json` in the folder, and
    `<!-- benchmarks:begin -->` ... `<!-- benchmarks:end -->` one for every `*.json` in its subfolder `benchmarks`.

    Args:
        text: a Markdown text that holds the markers, each once.
        folder: the folder of results, `results` beside the README.

    Raises:
        ValueError: a marker is missing or stands twice, or a file is not a result.
    """
    made = {"results": _results(folder), "benchmarks": _benchmarks(folder / "benchmarks")}
    for part in PARTS:
        begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise ValueError(f"expected {begin} and after it {end}, each once")
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n\n{made[part]}\n\n{end}{after}"
    return text


def _results(folder: Path) -> str:
    parts = []
    for file in sorted(folder.glob("*.json")):
        codes = load_codes(file)
        if codes is not None:
            parts.append(f"### {codes['name']}\n\n{codes_markdown(codes, full=False)}")
        else:
            result = load(file)
            parts.append(f"### {file.stem}\n\n{markdown(result)}")
    return "\n\n".join(parts) or "No result has been recorded yet."


def _benchmarks(folder: Path) -> str:
    parts = []
    for file in sorted(folder.glob("*.json")):
        try:
            benchmark = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not valid JSON ({error})") from error
        if not isinstance(benchmark, dict) or not isinstance(benchmark.get("rows"), list):
            raise ValueError(f"{file} is not a benchmark: expected an object with a list of rows")
        parts.append(f"### {file.stem}\n\n{benchmarks_markdown(benchmark)}")
    return "\n\n".join(parts) or "No benchmark has been recorded yet."
