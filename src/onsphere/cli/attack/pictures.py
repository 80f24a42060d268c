"""Examples for the picture: images, and what every attack makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onsphere import attacks
from onsphere.attacks.evaluation import Attack, predicted
from onsphere.cli.attack.work import PIXEL, TITLES, Found, Work, in_pixels

SHOWN = 4


def examples(found: Found, work: Work) -> list[dict[str, Any]]:
    """Images that a row recognises, or any if it recognises none, as `onsphere.report.attacks.write_attack` takes them.

    Args:
        found: the row.
        work: what was done to it.
    """
    device = work.images.images.device
    model, names = in_pixels(found.trained, device), found.trained.data.classes
    source = model if work.source is None else work.source
    calls: dict[str, Attack] = {TITLES[part]: work.calls[part] for part in work.parts if part in work.calls}
    if "l2" in work.parts:
        calls[TITLES["l2"]] = attacks.deepfool
    some = work.images.select(torch.arange(min(work.batch, len(work.images))))
    pixels = some.images / PIXEL
    right = (predicted(model, pixels) == some.labels).nonzero().flatten()[:SHOWN]
    chosen = right if len(right) else torch.arange(min(SHOWN, len(some)), device=device)
    pixels, labels = pixels[chosen], some.labels[chosen]
    made = [(name, _seen(model, call(source, pixels, labels), names)) for name, call in calls.items()]
    return [
        {**image, "attacked": [{"name": name, **changed[i]} for name, changed in made]}
        for i, image in enumerate(_seen(model, pixels, names))
    ]


def _seen(model: nn.Module, pixels: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Images as nested lists of 0 to 255, and what the model takes them for."""
    shown = (PIXEL * pixels).permute(0, 2, 3, 1).tolist()
    classes = predicted(model, pixels).tolist()
    return [{"class": names[k] if k >= 0 else "NaN", "pixels": image} for k, image in zip(classes, shown, strict=True)]
