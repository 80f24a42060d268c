"""Scripts in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import connection
from pathlib import Path

import torch
from torch.distributed import TCPStore

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
ONE_MACHINE = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
SECONDS = 200


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
            env={**os.environ, **ONE_MACHINE},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode == 0:
            break
        if anew is not None:
            shutil.rmtree(anew, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def forked(script: Path, *arguments: str, processes: int | None = None) -> str:
    """What `python SCRIPT ARGUMENTS` printed, without the seconds that its imports take; fails where it failed.

    The processes are forked from one that has imported what is large (`conftest.py`).

    Args:
        script: a file.
        arguments: its own.
        processes: so many of them, each told what torchrun would tell it; None: one that nobody launched.
    """
    context = multiprocessing.get_context("forkserver")
    # What torchrun's agent keeps for its workers to meet at.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(processes or 1):
            variables = {} if processes is None else torchrun_variables(rank, processes, store.port)
            child = context.Process(target=_run, args=(str(script), arguments, {**ONE_MACHINE, **variables}, folder))
            child.start()
            children.append(child)
        deadline = time.monotonic() + SECONDS
        while not any(child.exitcode for child in children) and time.monotonic() < deadline:
            running = [child.sentinel for child in children if child.exitcode is None]
            if not running:
                break
            connection.wait(running, timeout=1)
        for child in children:  # what waits for one that failed
            child.kill()
            child.join()
        said, complained = (Path(folder, name).read_text() for name in ("stdout", "stderr"))
    assert [child.exitcode for child in children] == [0] * len(children), said + complained
    return said


def torchrun_variables(rank: int, processes: int, port: int) -> dict[str, str]:
    """What `torchrun --standalone` tells a worker; a test compares it with what it does tell."""
    ranks = {name: str(rank) for name in ("RANK", "LOCAL_RANK", "ROLE_RANK")}
    sizes = {name: str(processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE")}
    group = {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "ROLE_NAME": "default"}
    elastic = {"RUN_ID": "forked", "RESTART_COUNT": "0", "MAX_RESTARTS": "0", "USE_AGENT_STORE": "True"}
    return {
        **ranks,
        **sizes,
        **group,
        **{f"TORCHELASTIC_{name}": value for name, value in elastic.items()},
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _run(script: str, arguments: tuple[str, ...], variables: dict[str, str], folder: str) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.update(variables)
    torch.set_num_threads(1)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
