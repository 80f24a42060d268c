"""ModelNet: folders of meshes in the Object File Format, sampled into clouds of points."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import torch

from onsphere.data.folders import subfolders
from onsphere.data.point_clouds import Array, Numbers, in_unit_ball, on_mesh
from onsphere.data.tensors import TensorData, Tensors


def modelnet(folder: str | Path, *, points: int = 1024, seed: int = 0, name: str | None = None) -> TensorData:
    """Point clouds drawn from the meshes of ModelNet-10 or ModelNet-40, each once and for all.

    Args:
        folder: holds CLASS/train/*.off and CLASS/test/*.off.
        points: of a cloud, drawn uniformly from the surface, centred and scaled into the unit ball.
        seed: of the points.
        name: as it shall stand in tables; by default the folder's name.

    Raises:
        FileNotFoundError: if the folder, a class or a split is missing.
        ValueError: if a file is damaged or its faces have no area, or points is below 2.

    Returns:
        Clouds (3, points), float32. Classes are numbered in alphabetical order.

    Source: Wu et al. 2015, 3D ShapeNets; sampled as by Qi et al. 2017, PointNet, section 5.1.

    >>> modelnet("no/such/folder")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no folder 'no/such/folder': expected one with CLASS/train/*.off and CLASS/test/*.off
    """
    folder = Path(folder).expanduser()
    expected = "expected one with CLASS/train/*.off and CLASS/test/*.off"
    if points < 2:
        raise ValueError(f"points={points}: expected at least 2")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {str(folder)!r}: {expected}")
    classes = subfolders(folder)
    if not classes:
        raise FileNotFoundError(f"no folder of a class in {str(folder)!r}: {expected}")
    train, test = (_split(folder, classes, split, points, [seed, part]) for part, split in enumerate(("train", "test")))
    return TensorData(name or folder.resolve().name, train, test, len(classes), classes)


def _split(folder: Path, classes: tuple[str, ...], split: str, points: int, seed: list[int]) -> Tensors:
    clouds, labels = [], []
    for label, kind in enumerate(classes):
        paths = sorted((folder / kind / split).glob("*.off"))
        if not paths:
            raise FileNotFoundError(f"no file *.off in {str(folder / kind / split)!r}")
        for number, path in enumerate(paths):
            vertices, faces = read_off(path)
            random = np.random.default_rng([*seed, label, number])
            try:
                cloud = in_unit_ball(on_mesh(vertices, faces, points, random))
            except ValueError as error:
                raise ValueError(f"{str(path)!r}: {error}") from error
            clouds.append(torch.from_numpy(cloud.T.astype(np.float32)))
            labels.append(label)
    return Tensors(torch.stack(clouds), torch.tensor(labels))


def read_off(path: Path) -> tuple[Array, Numbers]:
    """Vertices (V, 3) and triangles (F, 3) of a file in the Object File Format.

    A face of more than three corners becomes several triangles that share the first one. The numbers of vertices and
    faces may stand right behind the word OFF, as they do in hundreds of ModelNet's files.

    Raises:
        ValueError: if it is none, ends too early, or names a vertex that it does not have.
    """
    text = path.read_text(encoding="latin-1")
    if not text.startswith("OFF"):
        raise ValueError(f"{str(path)!r} begins with {text[:9]!r}: expected OFF")
    if "#" in text:
        text = "\n".join(line.split("#")[0] for line in text.splitlines())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what older versions of numpy give
            numbers = np.fromstring(text[3:], sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise ValueError(f"{str(path)!r} has something else than numbers behind OFF: {error}") from error
    if len(numbers) < 3 or min(numbers[:2]) < 0:
        raise ValueError(f"{str(path)!r} has no numbers of vertices and faces behind OFF")
    vertex_count, face_count = (int(number) for number in numbers[:2])
    corners = numbers[3 : 3 + 3 * vertex_count]
    faces = numbers[3 + 3 * vertex_count :]
    if len(corners) < 3 * vertex_count or len(faces) < 4 * face_count:
        raise ValueError(
            f"{str(path)!r} ends too early: {len(numbers) - 3} numbers, expected at least "
            f"{3 * vertex_count + 4 * face_count} for {vertex_count} vertices and {face_count} faces"
        )
    if len(faces) == 4 * face_count and (faces[::4] == 3).all():  # triangles without colours
        triangles = faces.reshape(-1, 4)[:, 1:].astype(np.int64)
    else:
        triangles = _triangles(path, text, vertex_count, face_count)
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < vertex_count):
        raise ValueError(f"{str(path)!r}: a face names a vertex that is none of 0 to {vertex_count - 1}")
    return corners.reshape(-1, 3), triangles


def _triangles(path: Path, text: str, vertex_count: int, face_count: int) -> Numbers:
    """The faces, which may have any number of corners, and colours behind them: one a line."""
    lines = [line for line in text[3:].splitlines() if line.strip()]
    found: list[tuple[int, int, int]] = []
    for line in lines[1 + vertex_count : 1 + vertex_count + face_count]:
        words = line.split()
        try:
            size = int(words[0])
            first, *others = (int(word) for word in words[1 : 1 + size])
        except ValueError as error:
            raise ValueError(f"{str(path)!r}: {line!r} is no face: {error}") from error
        if len(others) + 1 < size:
            raise ValueError(f"{str(path)!r}: {line!r} is no face of {size} corners")
        found += [(first, second, third) for second, third in itertools.pairwise(others)]
    return np.array(found, dtype=np.int64).reshape(-1, 3)
