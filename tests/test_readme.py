"""What the README says is so: its code runs, its tables are those of the result files, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from onsphere.report.readme import update

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def test_the_code_blocks_run_in_their_order() -> None:
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(README)
    blocks = list(document.examples())
    assert len(blocks) == README.read_text(encoding="utf-8").count("```python")
    for block in blocks:
        block.evaluate()


def test_the_tables_are_those_of_the_result_files() -> None:
    text = README.read_text(encoding="utf-8")
    assert update(text, ROOT / "results") == text, "run: python -m onsphere.report README.md"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_to_files_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "one_line.py"), "--epochs", "2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"accuracy \d+\.\d+ %", done.stdout)) == 2


def test_the_example_of_points_on_a_sphere_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "spherical_code.py"), "--classes", "8", "--seconds", "1"],
        cwd=tmp_path,  # where it writes its file
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "minimum angle 90.000000 degrees" in done.stdout  # 8 points in 4 dimensions: the cross-polytope
    assert (tmp_path / "prototypes.npy").exists()
