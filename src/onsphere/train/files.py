"""Files that are there whole or not at all, whatever stops the program and whenever."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

__all__ = ["replace_file", "slug"]


def replace_file(path: Path, content: bytes | memoryview, *, lasting: bool = True) -> None:
    """Write a file under another name, then move it over the old one, which stays as it is if anything fails.

    Args:
        path: of the file; its folder is made if need be.
        content: all of it.
        lasting: wait until the disk has it, which takes milliseconds; else a machine that loses power may have moved a
            file without content.

    Raises:
        OSError: if the disk is full, the folder read-only, and the like; the message names the file.
    """
    # Always the same name, so that what a killed process leaves is overwritten by the next one.
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"cannot write {path}: {reason}; what was there before is unchanged") from error
        raise


def temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def slug(text: str) -> str:
    """A row's name as part of a file name.

    >>> slug("MHE s=2, half space")
    'mhe-s-2-half-space'
    """
    return re.sub(r"[^a-z0-9.+_]+", "-", text.lower()).strip("-.") or "row"
