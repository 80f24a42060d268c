"""What a dotted name on the command line stands for: a model, or a function that makes one; and where to compute."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from onsphere.cli.mistakes import Mistake, closest

if TYPE_CHECKING:
    from torch import nn


def is_dotted(what: str) -> bool:
    """Whether a word is MODULE:FACTORY.

    >>> is_dotted("my_package.models:build"), is_dotted("model.safetensors")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", what) is not None


def made(what: str) -> nn.Module | Mapping[str, Any]:
    """Take or make a model from a module, which may lie in the current folder.

    Args:
        what: MODULE:FACTORY.

    Raises:
        Mistake: there is no such module or name, or it gives no model.
    """
    from torch import nn

    module, name = what.split(":")
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            if not hasattr(found, part):
                known = [each for each in dir(found) if not each.startswith("_")]
                raise Mistake(f"{module!r} has no {name!r}{closest(part, known)}")
            found = getattr(found, part)
        if not isinstance(found, nn.Module) and callable(found):
            try:
                signature(found).bind()
            except TypeError as error:
                raise Mistake(f"{module}:{name} needs arguments ({error}): name a function that takes none") from error
            found = found()
    except ImportError as error:
        raise Mistake(f"cannot import {module!r}: {error}") from error
    finally:
        sys.path.remove(folder)
    if not isinstance(found, nn.Module | Mapping):
        kind = type(found).__name__
        raise Mistake(f"{module}:{name} gives a {kind}: expected a torch.nn.Module, or a function that makes one")
    return found


def checked_device(name: str | None) -> str | None:
    """A device that is there, or a Mistake."""
    import torch

    if name is not None:
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise Mistake(f"--device {name}: {str(error).splitlines()[0]}") from error
    return name
