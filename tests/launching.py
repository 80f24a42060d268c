"""A script in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def launched(*command: str) -> str:
    """What `python COMMAND` printed, with one thread and gloo on this machine; fails where it failed."""
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
    assert done.returncode == 0, done.stderr
    return done.stdout
