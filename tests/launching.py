"""A script in processes of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def launched(*command: str, anew: Path | None = None) -> str:
    """What `python COMMAND` printed, with one thread and gloo on this machine; fails where it failed.

    Args:
        command: script and arguments.
        anew: a folder that a second try must not find, since the first may have done its work before it failed.
    """
    # A second try where torch's launcher did not bring two processes up; wrong numbers never get one.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if done.returncode == 0:
            break
        if anew is not None:
            shutil.rmtree(anew, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
