"""Codes in files, and the table of the best known angles."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from onsphere.codes.best_known import BestKnown, _table, best_known
from onsphere.codes.files import check_destination, load, save

Points = NDArray[np.float64]
SUFFIXES = [".npy", ".csv", ".xyz"]


@given(
    points=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.just(3)),
        elements=st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 1),
    ),
    suffix=st.sampled_from([*SUFFIXES, ".CSV"]),
)
@settings(max_examples=30)
def test_reading_gives_the_same_bits(tmp_path_factory: pytest.TempPathFactory, points: Points, suffix: str) -> None:
    path = tmp_path_factory.mktemp("codes") / f"code{suffix}"
    save(points, path)
    read = load(str(path))
    assert read.dtype == np.float64
    assert read.tobytes() == points.tobytes()
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no draft is left


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_other_dimensions_are_read_back(tmp_path: Path, suffix: str) -> None:
    points = np.asfortranarray(np.random.default_rng(0).normal(size=(4, 7)))
    save(points, tmp_path / f"code{suffix}")
    np.testing.assert_array_equal(load(tmp_path / f"code{suffix}"), points)


def test_what_the_files_look_like_to_other_programs(tmp_path: Path) -> None:
    points = np.array([[1.0, 0.0, 0.0], [0.0, -0.5, 1 / 3]])
    for suffix in SUFFIXES:
        save(points, tmp_path / f"code{suffix}")
    assert (tmp_path / "code.csv").read_text() == "x1,x2,x3\n1.0,0.0,0.0\n0.0,-0.5,0.3333333333333333\n"
    xyz = (tmp_path / "code.xyz").read_text().splitlines()
    assert xyz[0] == "2"
    assert xyz[2:] == ["C 1.0 0.0 0.0", "C 0.0 -0.5 0.3333333333333333"]
    np.testing.assert_array_equal(np.load(tmp_path / "code.npy", allow_pickle=False), points)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "code.csv", delimiter=",", skiprows=1), points)


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("2\r\n\r\nX  1 0\t0\r\nHe 0 1e0 0\r\n\r\n")
    assert load(tmp_path / "a.xyz").tolist() == [[1, 0, 0], [0, 1, 0]]
    (tmp_path / "a.csv").write_text('x1,x2\r\n"1",0\r\n 0,1\r\n')
    assert load(tmp_path / "a.csv").tolist() == [[1, 0], [0, 1]]
    np.save(tmp_path / "a.npy", np.eye(2, dtype=np.float32))
    assert load(tmp_path / "a.npy").dtype == np.float64


@pytest.mark.parametrize("name", ["code.txt", "code", "code.npz", "xyz"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    message = rf"ends in \.npy, \.csv or \.xyz, got .*{name}"
    with pytest.raises(ValueError, match=message):
        save(np.eye(3), tmp_path / name)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("d", [2, 4])
def test_an_xyz_file_holds_three_coordinates(tmp_path: Path, d: int) -> None:
    with pytest.raises(ValueError, match=rf"holds points of d = 3, got d = {d}; use .npy or .csv"):
        save(np.eye(d), tmp_path / "code.xyz")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write .*code\.csv: there is no folder .*gone"):
        save(np.eye(3), tmp_path / "gone" / "code.csv")
    with pytest.raises(FileNotFoundError, match="gone"):
        check_destination(tmp_path / "gone" / "code.csv", 3)
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            load(tmp_path / f"gone{suffix}")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.ones(3), r"expected a matrix \(n, d\), got shape \(3,\)"),
        (np.ones((0, 3)), r"got shape \(0, 3\)"),
        (np.array([[1.0, 0.0], [math.nan, 0.0]]), r"finite coordinates, got \[nan  0\.\] in row 1"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_not_written(tmp_path: Path, points: Points, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        save(points, tmp_path / "code.npy")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(np.eye(3), tmp_path / "code.npy")

    def full(file: object, *_: object, **__: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        save(-np.eye(3), tmp_path / "code.npy")
    np.testing.assert_array_equal(load(tmp_path / "code.npy"), np.eye(3))
    assert [file.name for file in tmp_path.iterdir()] == ["code.npy"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "expected the header x1,...,xd in line 1, got ''"),
        ("a.csv", "1.0,0.0\n0.0,1.0\n", "expected the header x1,...,xd in line 1, got '1.0,0.0'"),
        ("a.csv", "x1,x2\n1,0\n\n1,0,0\n", "expected 2 coordinates in line 4, got 3"),
        ("a.csv", "x1,x2\n1,one\n", "expected numbers in line 2: could not convert string to float: 'one'"),
        ("a.csv", "x1,x2\n1,inf\n", r"expected finite coordinates, got \[ 1. inf\] in row 0"),
        ("a.csv", "x1,x2\n", r"expected a matrix \(n, d\), got shape \(0, 2\)"),
        ("a.xyz", "", "expected the number of points in line 1, got '' and 0 points"),
        ("a.xyz", "2\n\nC 0 0 1\n", "expected the number of points in line 1, got '2' and 1 points"),
        ("a.xyz", "1\n\nC 0 1\n", "expected 3 coordinates in line 3, got 2"),
        ("a.npy", "no array", "a.npy is no .npy file of numbers"),
        ("a.npy", "", "a.npy is no .npy file of numbers"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize("array", [np.array([[object()]]), np.array([["a"]]), np.ones((2, 2)) * 1j, np.ones((2, 2, 2))])
def test_an_array_that_is_no_code_is_refused(tmp_path: Path, array: NDArray[np.generic]) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy"):
        load(tmp_path / "a.npy")


def test_a_text_file_in_no_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x1,x2\n\xff\xfe\n")
    with pytest.raises(ValueError, match="is not a text file"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("n", "d", "degrees"),
    [
        (2, 3, 180.0),
        (5, 2, 72.0),
        (5, 4, math.degrees(math.acos(-0.25))),
        (6, 3, 90.0),
        (7, 3, 77.8695421554),
        (12, 3, 63.4349488229),
        (24, 3, 43.6907671077),
        (30, 3, 38.597115947),
        (100, 3, 21.031202),
        (24, 4, 60.0),
        (120, 4, 36.0),
        (40, 5, 60.0),
        (240, 8, 60.0),
        (196560, 24, 60.0),
        (150, 100, 90.0),
    ],
)
def test_known_angles(n: int, d: int, degrees: float) -> None:
    found = best_known(n, d)
    assert found is not None
    assert math.degrees(found.angle) == pytest.approx(degrees, abs=1e-10)
    assert found.source


def test_what_nobody_has_published_is_none() -> None:
    assert best_known(31, 4) is None
    assert best_known(10**6, 3) is None


@pytest.mark.parametrize(("n", "d"), [(1, 3), (5, 1), (0, 0)])
def test_no_table_has_fewer_than_two_points_or_dimensions(n: int, d: int) -> None:
    with pytest.raises(ValueError, match=f"got n={n}, d={d}"):
        best_known(n, d)


@pytest.mark.parametrize(
    ("n", "d", "optimal"), [(14, 3, True), (15, 3, False), (24, 4, True), (40, 5, False), (600, 4, False)]
)
def test_what_is_proved_is_told_from_what_is_only_known(n: int, d: int, optimal: bool) -> None:
    found = best_known(n, d)
    assert isinstance(found, BestKnown)
    assert found.is_optimal is optimal


def test_the_table_contradicts_neither_itself_nor_the_formulas() -> None:
    rows = _table()
    assert all(n > 2 * d > 4 for n, d in rows)
    assert all(0 < row.angle < math.pi / 2 for row in rows.values())  # Rankin: more than 2 d points are closer than 90
    in_order = sorted(rows, key=lambda key: (key[1], key[0]))
    for (fewer, d), (more, same) in pairwise(in_order):
        assert d != same or rows[fewer, d].angle >= rows[more, same].angle  # a code stays one without a point
    assert all(rows[n, d].angle < _fejes_toth(n) + 1e-9 for n, d in rows if d == 3)


def _fejes_toth(n: int) -> float:
    """No n points of the ordinary sphere are farther apart; n = 3, 4, 6 and 12 reach it."""
    return math.acos((1 / math.tan(n / (n - 2) * math.pi / 6) ** 2 - 1) / 2)
