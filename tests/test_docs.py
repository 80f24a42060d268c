"""The documentation's pages: their code runs, their commands exist, and the site builds without warning or network."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import torch
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from onsphere.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NOT_RUN = re.compile(r"```python title=\"(Not run here: needs .+|examples/\w+\.py)\"")
FENCE = re.compile(r"^ *```(\w+)(.*)\n", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")], ids=_name
)
def test_the_code_blocks_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where they write files
    torch.manual_seed(0)
    blocks = list(Sybil(parsers=[PythonCodeBlockParser()]).parse(page).examples())
    assert len(blocks) == len(re.findall(r"```python\n", page.read_text(encoding="utf-8")))
    for block in blocks:
        block.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_that_is_not_run_says_why(page: Path) -> None:
    for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
        assert fence[1] in ("python", "sh", "text"), f"{fence[0].strip()} is neither run nor checked"
        if fence[1] == "python" and fence[2]:
            assert NOT_RUN.match(fence[0].strip()), fence[0].strip()


def _commands() -> list[tuple[str, ...]]:
    """Every command line of onsphere in a block of shell commands."""
    found = set()
    for page in [*PAGES, ROOT / "README.md"]:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.split(" > ")[0].split("&&")[-1], comments=True)
                if "onsphere" in words:
                    found.add(tuple(words[words.index("onsphere") + 1 :]))
    return sorted(found)


def test_the_options_in_commands_exist() -> None:
    helps: dict[tuple[str, ...], str] = {}
    for words in _commands():
        command = words[: 2 if len(words) > 1 and not words[1].startswith("-") else 1]
        if command[0] == "inspect":
            command = command[:1]
        if command not in helps:
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                assert main([*command, "--help"]) == 0
            helps[command] = said.getvalue()
        for word in words:
            if word.startswith("--"):
                assert re.search(rf"{re.escape(word)}\b", helps[command]), f"onsphere {' '.join(words)}: no {word}"
    assert len(helps) > 5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class _Links(HTMLParser):
    """What a page loads, and the pages that it links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        source = values.get("href") if tag == "link" and values.get("rel") != "canonical" else values.get("src")
        if source:
            self.loaded.append(source)


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and the page for what is not found
    for page in pages:
        loaded = _Links(page).loaded
        assert loaded
        assert [source for source in loaded if re.match(r"(https?:)?//", source)] == [], page
    assert not (site / "hooks").exists()


def test_equations_are_mathml(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for leftover in ("math::", 'class="arithmatex"', ":func:", ":class:", "<autoref", "generated:"):
            assert leftover not in text, f"{page.name} shows {leftover}"
    energy = (site / "energy.html").read_text(encoding="utf-8")
    assert energy.count("<math") > 10
    functions = (site / "api" / "functional.html").read_text(encoding="utf-8")
    assert functions.count('display="block"') == 10  # one a function


def test_generated_parts_are_there(site: Path) -> None:
    from onsphere.recipes import RECIPES

    recipes = (site / "recipes.html").read_text(encoding="utf-8")
    assert [name for name in RECIPES if name not in recipes] == []
    results = (site / "results.html").read_text(encoding="utf-8")
    names = [json.loads(file.read_text(encoding="utf-8"))["name"] for file in (ROOT / "results").glob("*.json")]
    assert [name for name in names if name not in results] == []
    assert "Most correlated layers first" in (site / "inspect.html").read_text(encoding="utf-8")
    assert "Habits of the house" in (site / "contributing.html").read_text(encoding="utf-8")


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    import onsphere
    from onsphere import (
        angular,
        attacks,
        codes,
        data,
        diagnostics,
        functional,
        integrations,
        layers,
        losses,
        magnitude,
        margins,
        models,
        orthogonal,
        train,
        verification,
    )

    described = set(re.findall(r'id="(onsphere[\w.]+)"', "".join(p.read_text() for p in (site / "api").glob("*.html"))))
    general = (onsphere, codes, data, diagnostics, functional, integrations, models, train)
    for module in (*general, angular, attacks, layers, losses, magnitude, margins, orthogonal, verification):
        for name in module.__all__:
            found = getattr(module, name)
            if not isinstance(found, ModuleType):
                home = getattr(found, "__module__", module.__name__)  # a table of names has none
                names = {f"onsphere.{name}", f"{module.__name__}.{name}", f"{home}.{name}"}
                assert names & described, f"{module.__name__}.{name} is on no page of docs/api"


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"a & b", r"\frac{1}{"])
def test_a_broken_equation_stops_the_build(latex: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    import equations

    with pytest.raises(ValueError, match="this equation"):
        equations.mathml(latex, block=True)


@pytest.mark.parametrize("name", ["equations", "docstrings"])
def test_the_examples_in_the_hooks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert (failed, attempted > 0) == (0, True)
