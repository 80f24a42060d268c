"""Processes that are forked are told what torchrun tells those that it launches, and fail as they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launching import TORCHRUN, forked, launched, torchrun_variables

SCRIPT = "import json, os, sys; print(json.dumps(dict(os.environ)) + chr(10), end='', flush=True)"
OF_THE_MOMENT = {"TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"}


def test_torchrun_says_what_forked_processes_are_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for said in (launched(*TORCHRUN, str(script)), forked(script, processes=2)):
        told = [json.loads(line) for line in said.splitlines()]
        for variables in sorted(told, key=lambda each: each["RANK"]):
            expected = torchrun_variables(int(variables["RANK"]), 2, int(variables["MASTER_PORT"]))
            assert expected.keys() <= variables.keys()
            assert {name: variables[name] for name in expected.keys() - OF_THE_MOMENT} == {
                name: value for name, value in expected.items() if name not in OF_THE_MOMENT
            }
        assert sorted(each["RANK"] for each in told) == ["0", "1"]


def test_a_process_that_fails_ends_the_other_and_says_why(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit('of no use')\ntime.sleep(1000)")
    with pytest.raises(AssertionError, match="of no use"):
        forked(script, processes=2)
