"""Pairs, folds, curves and identification against their literal twins; files that are read or refused."""

from __future__ import annotations

import math
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reference_verification as reference
from onsphere import verification
from onsphere.data import Images
from onsphere.verification import Pairs
from onsphere.verification.extraction import extract

LFW = Path(__file__).resolve().parents[2] / "shared" / "data" / "lfw_protocol" / "pairs.txt"


@st.composite
def scored(draw: st.DrawFn, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and kinds of which there are both."""
    n = draw(st.integers(least, 24))
    scores = draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n))
    same = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda kinds: 0 < sum(kinds) < len(kinds)))
    return np.array(scores) / 8, np.array(same)


@st.composite
def folded(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, kinds and folds, each with both kinds."""
    folds = draw(st.integers(2, 4))
    fold = [i for i in range(folds) for _ in range(2)] + draw(st.lists(st.integers(0, folds - 1), max_size=10))
    same = [True, False] * folds + draw(st.lists(st.booleans(), min_size=len(fold) - 2 * folds,
                                                 max_size=len(fold) - 2 * folds))  # fmt: skip
    scores = draw(st.lists(st.integers(-8, 8), min_size=len(fold), max_size=len(fold)))
    return np.array(scores) / 8, np.array(same), np.array(fold)


class TestCurves:
    @settings(max_examples=50)
    @given(scored())
    def test_every_point_is_what_counting_gives(self, given: tuple[np.ndarray, np.ndarray]) -> None:
        scores, same = given
        curve = verification.roc(scores, same)
        assert len(curve.threshold) == len(set(scores)) + 1
        for threshold, far, tar in zip(curve.threshold, curve.far, curve.tar, strict=True):
            assert (far, tar) == reference.rates(scores.tolist(), same.tolist(), threshold)

    @given(scored(), st.sampled_from([1e-6, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0]))
    def test_the_true_accept_rate_at_a_false_accept_rate(
        self, given: tuple[np.ndarray, np.ndarray], far: float
    ) -> None:
        scores, same = given
        assert verification.tar_at_far(verification.roc(scores, same), far) == reference.tar_at_far(
            scores.tolist(), same.tolist(), far
        )

    @given(scored())
    def test_the_equal_error_rate_and_the_area(self, given: tuple[np.ndarray, np.ndarray]) -> None:
        curve = verification.roc(*given)
        lists = given[0].tolist(), given[1].tolist()
        assert verification.equal_error_rate(curve) == pytest.approx(reference.equal_error_rate(*lists), abs=1e-12)
        assert verification.auc(curve) == pytest.approx(reference.auc(*lists), abs=1e-12)

    @settings(max_examples=50)
    @given(scored(), st.randoms(use_true_random=False))
    def test_an_increasing_function_and_another_order_change_nothing(
        self, given: tuple[np.ndarray, np.ndarray], random: Any
    ) -> None:
        scores, same = given
        order = list(range(len(scores)))
        random.shuffle(order)
        one, other = verification.roc(scores, same), verification.roc(np.exp(3 * scores[order]) - 7, same[order])
        np.testing.assert_array_equal(one.far, other.far)
        np.testing.assert_array_equal(one.tar, other.tar)
        assert verification.equal_error_rate(one) == verification.equal_error_rate(other)

    @settings(max_examples=50)
    @given(scored())
    def test_swapping_the_kinds_and_the_sign_mirrors_the_curve(self, given: tuple[np.ndarray, np.ndarray]) -> None:
        scores, same = given
        one, other = verification.roc(scores, same), verification.roc(-scores, ~same)
        assert verification.auc(one) == pytest.approx(verification.auc(other), abs=1e-12)
        assert verification.equal_error_rate(one) == pytest.approx(verification.equal_error_rate(other), abs=1e-12)

    def test_a_rate_in_decimals_counts_what_it_says(self) -> None:
        scores = np.concatenate([np.arange(3000.0), [2996.5]])
        same = np.append(np.zeros(3000, dtype=bool), True)
        assert verification.tar_at_far(verification.roc(scores, same), 0.001) == 1
        assert verification.tar_at_far(verification.roc(scores, same), 0.0009) == 0

    def test_a_computed_rate_may_be_off_by_rounding(self) -> None:
        scores, same = [*range(10), 8.5], [*[False] * 10, True]
        assert 0.3 - 0.2 < 0.1
        assert verification.tar_at_far(verification.roc(scores, same), 0.3 - 0.2) == 1

    @pytest.mark.parametrize("far", [0.0, -1.0, 1.5, math.nan])
    def test_a_rate_that_is_none(self, far: float) -> None:
        with pytest.raises(ValueError, match="expected a rate"):
            verification.tar_at_far(verification.roc([1.0, 0.0], [True, False]), far)

    @pytest.mark.parametrize(
        ("scores", "same", "words"),
        [
            ([1.0, math.nan], [True, False], r"scores\[1\] is nan"),
            ([1.0, 2.0, 3.0], [True, False], "3 scores and 2 pairs"),
            ([1.0, 2.0], [True, True], "no pair of different identities among 2"),
            ([1.0, 2.0], [False, False], "no pair of the same identity among 2"),
            ([], [], "both kinds are needed"),
            ([[1.0]], [True], "one row of real numbers"),
            (["a", "b"], [True, False], "one row of real numbers"),
            ([1.0, 2.0], [1, 0], "one row of bool"),
        ],
    )
    def test_what_is_no_score_is_refused(self, scores: Any, same: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            verification.roc(scores, same)


class TestFolds:
    @given(scored())
    def test_the_threshold_is_the_best_of_all(self, given: tuple[np.ndarray, np.ndarray]) -> None:
        scores, same = given
        assert verification.best_threshold(scores, same) == reference.best_threshold(scores.tolist(), same.tolist())

    def test_of_equal_gaps_the_widest_and_then_the_lowest(self) -> None:
        same = [False, True, False, True]
        assert verification.best_threshold([0.0, 1.0, 2.0, 5.0], same) == 3.5
        assert verification.best_threshold([0.0, 1.0, 2.0, 3.0], same) == 0.5

    def test_accepting_everything_or_nothing(self) -> None:
        assert verification.best_threshold([0.0, 1.0, 1.0], [True, False, True]) == 0.0
        nothing = verification.best_threshold([0.0, 1.0, 1.0, 1.0], [False, False, False, True])
        assert 1 < nothing == np.nextafter(1.0, 2.0)

    def test_neighbouring_floats_have_no_middle(self) -> None:
        low, high = 0.5, np.nextafter(0.5, 1)
        assert verification.best_threshold([low, high], [False, True]) == high

    @given(folded())
    def test_the_accuracy_of_each_fold(self, given: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        scores, same, fold = given
        found = verification.verify(scores, same, fold)
        expected = reference.accuracies(scores.tolist(), same.tolist(), fold.tolist())
        np.testing.assert_allclose(found.fold_accuracy, expected, atol=1e-15)
        assert found.accuracy == pytest.approx(sum(expected) / len(expected))
        assert found.accuracy_std == pytest.approx(np.std(expected, ddof=1))
        assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(len(expected)))

    @settings(max_examples=50)
    @given(folded(), st.sampled_from([0.25, 2.0, 8.0]), st.integers(-4, 4), st.randoms(use_true_random=False))
    def test_scale_shift_order_and_fold_numbers_change_nothing(
        self, given: tuple[np.ndarray, np.ndarray, np.ndarray], scale: float, shift: int, random: Any
    ) -> None:
        scores, same, fold = given
        order = list(range(len(scores)))
        random.shuffle(order)
        one = verification.verify(scores, same, fold)
        other = verification.verify(scale * scores[order] + shift, same[order], 7 * fold[order] - 3)
        np.testing.assert_array_equal(one.fold_accuracy, other.fold_accuracy)
        assert (one.eer, one.auc, one.tar_at_far) == (other.eer, other.auc, other.tar_at_far)

    @settings(max_examples=30)
    @given(st.integers(0, 10_000))
    def test_what_is_apart_is_told_apart(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        same = np.tile([True, False], 40)
        scores = np.where(same, rng.uniform(0.5, 1, 80), rng.uniform(-1, -0.5, 80))
        found = verification.verify(scores, same)
        assert (found.accuracy, found.accuracy_std, found.eer, found.auc) == (1, 0, 0, 1)
        assert set(found.tar_at_far.values()) == {1.0}

    def test_chance_gives_half(self) -> None:
        rng = np.random.default_rng(0)
        same = np.tile([True, False], 3000)
        found = verification.verify(rng.standard_normal(6000), same)
        assert found.accuracy == pytest.approx(0.5, abs=0.02)
        assert found.eer == pytest.approx(0.5, abs=0.02)
        assert found.auc == pytest.approx(0.5, abs=0.02)
        assert found.tar_at_far[0.1] == pytest.approx(0.1, abs=0.03)

    def test_the_names_of_result_files(self) -> None:
        found = verification.verify([0.9, 0.1, 0.8, 0.2], np.array([True, False] * 2), [0, 0, 1, 1], far=[1e-3, 1e-6])
        assert found.percent() == {
            "verification": 100.0, "verification_sd": 0.0, "eer": 0.0, "auc": 100.0,
            "tar_at_far_0.001": 100.0, "tar_at_far_1e-06": 100.0,
        }  # fmt: skip

    def test_percent_has_no_digits_that_rounding_left(self) -> None:
        same = np.tile([True, False], 100)
        scores = np.where(same, 1.0, 0.0)
        scores[2 * np.arange(71)] = -1.0  # 29 of 100 pairs of one identity are accepted
        assert verification.verify(scores, same, far=[1e-3]).percent()["tar_at_far_0.001"] == 29.0

    def test_pairs_bring_their_folds(self) -> None:
        pairs = Pairs([0, 0, 0, 0], [1, 2, 3, 4], [True, False, True, False], [5, 5, 9, 9])
        assert len(verification.verify([1.0, 0.0, 1.0, 0.0], pairs).thresholds) == 2
        with pytest.raises(ValueError, match="given twice"):
            verification.verify([1.0, 0.0, 1.0, 0.0], pairs, [0, 0, 1, 1])

    @pytest.mark.parametrize(
        ("same", "fold", "words"),
        [
            ([True, False, True, False], [0, 0, 0, 0], "all pairs are in fold 0"),
            ([True, False, True, True], [0, 0, 3, 3], "fold 3 has no pair of different identities"),
            ([True, False, False, False], [0, 0, 3, 3], "fold 3 has no pair of the same identity"),
            ([True, False, False, True], [0, 0, 3], "4 scores and 3 fold numbers"),
            ([True, False, False, True], [0.0, 0.0, 1.0, 1.0], "fold of shape"),
        ],
    )
    def test_folds_that_do_not_work(self, same: Any, fold: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            verification.verify([0.1, 0.2, 0.3, 0.4], same, fold)

    def test_consecutive_folds_are_those_of_a_balanced_file(self) -> None:
        same = np.tile(np.repeat([True, False], 3), 4)
        np.testing.assert_array_equal(verification.consecutive_folds(same, 4), np.repeat(np.arange(4), 6))
        with pytest.raises(ValueError, match="2 pairs of different identities cannot be cut into 3 folds"):
            verification.consecutive_folds([True, False, True, True, False], 3)


class TestPairs:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.booleans())
    def test_drawn_pairs_are_what_they_say(self, seed: int, folds: int, each: int, disjoint: bool) -> None:
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat(np.arange(50, 50 + 3 * folds), rng.integers(5, 9, 3 * folds)))
        pairs = verification.random_pairs(labels, 2 * folds * each, folds, seed, disjoint=disjoint)
        assert len(pairs) == 2 * folds * each
        np.testing.assert_array_equal(labels[pairs.first] == labels[pairs.second], pairs.same)
        assert len({frozenset(pair) for pair in zip(pairs.first, pairs.second, strict=True)}) == len(pairs)
        for fold in range(folds):
            assert pairs.same[pairs.fold == fold].tolist() == [True] * each + [False] * each
        if disjoint:
            used = [{*labels[pairs.first[pairs.fold == f]], *labels[pairs.second[pairs.fold == f]]}
                    for f in range(folds)]  # fmt: skip
            assert sum(map(len, used)) == len(set().union(*used))

    def test_all_pairs_there_are_can_be_drawn_and_each_is_as_likely(self) -> None:
        labels = [0, 0, 0, 1, 1, 1]
        assert len(verification.random_pairs(labels, 12, 1, disjoint=False)) == 12
        rng = np.random.default_rng(0)
        times = np.zeros((6, 6))
        for seed in rng.integers(0, 1 << 30, 2000):
            pairs = verification.random_pairs(labels, 2, 1, int(seed))
            np.add.at(times, (pairs.first, pairs.second), 1)
        times += times.T
        inside = np.equal.outer(labels, labels) & ~np.eye(6, dtype=bool)
        assert np.abs(times[inside] / 2000 - 1 / 6).max() < 0.05
        assert np.abs(times[~np.equal.outer(labels, labels)] / 2000 - 1 / 9).max() < 0.05

    def test_equal_seeds_give_equal_pairs(self) -> None:
        labels = np.repeat(np.arange(30), 10)
        one, again, other = (verification.random_pairs(labels, 200, seed=seed) for seed in (3, 3, 4))
        assert one.first.tolist() == again.first.tolist()
        assert one.first.tolist() != other.first.tolist()

    @pytest.mark.parametrize(
        ("labels", "count", "folds", "words"),
        [
            ([0, 0, 1, 1], 3, 1, "positive multiple of 2 pairs"),
            ([0, 0, 1, 1], 0, 1, "positive multiple of 2 pairs"),
            ([0, 0, 1, 1], 10, 10, "positive multiple of 20 pairs"),
            ([0, 0, 1, 1], 6, 1, "has 2 pairs of the same identity, and 3 are wanted"),
            ([0, 1, 2, 3], 2, 1, "has 0 pairs of the same identity, and 1 are wanted"),
            ([0, 0, 1, 1, 2, 2], 4, 2, "3 identities: 2 folds of disjoint ones need at least 4"),
            ([0, 0, 0], 2, 1, "1 identities"),
            ([], 2, 1, "0 identities"),
            ([0.0, 1.0], 2, 1, "one row of integers"),
        ],
    )
    def test_too_much_is_asked(self, labels: Any, count: int, folds: int, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            verification.random_pairs(labels, count, folds)

    @pytest.mark.parametrize(
        ("first", "second", "same", "words"),
        [
            ([0, 1], [1, 1], [True, False], "pair 1 compares image 1 with itself"),
            ([0, -1], [1, 1], [True, False], "first holds -1"),
            ([0], [1, 1], [True, False], "first has 1, second has 2"),
            ([0, 0], [1, 1], [1, 0], "same of shape"),
            ([0.0, 0.0], [1, 1], [True, False], "first of shape"),
            ([], [], [], "at least 1"),
        ],
    )
    def test_pairs_that_are_none(self, first: Any, second: Any, same: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Pairs(first, second, same, np.zeros(len(second), dtype=int))


class TestScores:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
    @pytest.mark.parametrize("combine", [None, "concatenate", "sum"])
    def test_are_cosines(self, dtype: Any, combine: Any) -> None:
        rng = np.random.default_rng(1)
        one, other = (rng.integers(-9, 9, (7, 3)).astype(dtype) for _ in range(2))
        pairs = Pairs([0, 1, 2, 6], [3, 4, 5, 0], [True, False] * 2, [0] * 4)
        if combine is None:
            found, whole = verification.scores(one, pairs), one.astype(float)
        else:
            found = verification.scores(one, pairs, other, combine)
            whole = np.hstack([one, other]) if combine == "concatenate" else one.astype(float) + other
        expected = [reference.cosine(whole[i], whole[j]) for i, j in zip(pairs.first, pairs.second, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-14)

    def test_length_does_not_matter_however_large_or_small(self) -> None:
        rng = np.random.default_rng(2)
        x = rng.standard_normal((4, 5))
        pairs = Pairs([0, 1], [2, 3], [True, False], [0, 0])
        scaled = x * np.array([[1e-300], [1e300], [1.0], [1e-160]])
        np.testing.assert_allclose(verification.scores(scaled, pairs), verification.scores(x, pairs), rtol=1e-12)

    def test_more_pairs_than_a_tile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x = np.random.default_rng(3).standard_normal((30, 4))
        pairs = verification.random_pairs(np.repeat(np.arange(6), 5), 60, 3, disjoint=True)
        whole = verification.scores(x, pairs)
        monkeypatch.setattr("onsphere.verification.similarity.TILE", 7)
        np.testing.assert_allclose(verification.scores(x, pairs), whole, atol=1e-15)

    def test_only_features_that_are_compared_must_be_sound(self) -> None:
        x = np.array([[1.0, 0.0], [math.nan, 0.0], [0.0, 1.0], [0.0, 0.0]])
        assert verification.scores(x, Pairs([0], [2], [False], [0])).tolist() == [0]
        with pytest.raises(ValueError, match=r"feature 1 holds NaN or infinity \(1 of 2"):
            verification.scores(x, Pairs([0], [1], [False], [0]))
        with pytest.raises(ValueError, match="feature 3 is zero"):
            verification.scores(x, Pairs([3], [0], [False], [0]))

    @pytest.mark.parametrize(
        ("features", "flipped", "combine", "words"),
        [
            (np.ones(3), None, "sum", r"features of shape \(3,\)"),
            (np.ones((3, 2), dtype=complex), None, "sum", "expected .N, D. real numbers"),
            (np.ones((1, 2)), None, "sum", "name row 1, but there are only 1"),
            (np.ones((3, 2)), np.ones((3, 1)), "sum", "expected one shape"),
            (np.ones((3, 2)), np.ones((3, 2)), "mean", "combine='mean'"),
        ],
    )
    def test_features_that_do_not_fit(self, features: Any, flipped: Any, combine: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            verification.scores(features, Pairs([0], [1], [True], [0]), flipped, combine)


class TestIdentification:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000), st.booleans(), st.integers(1, 7), st.sampled_from(["array", "list", "generator"]))
    def test_both_protocols_are_the_literal_ones(self, seed: int, alone: bool, tile: int, form: str) -> None:
        rng = np.random.default_rng(seed)
        # Few directions, so that ties are frequent: a tie is no success.
        points = rng.integers(-2, 3, (40, 2)) + 0.25
        labels = np.array([0, 0, 1, 1, 2, 2, 2])
        probes, gallery, others = points[:7], (None if alone else points[7:14]), points[14 : 14 + rng.integers(1, 20)]
        names = None if alone else rng.permutation(labels)
        given: Any = others
        if form == "list":
            given = [others[:1], others[1:]] if len(others) > 1 else [others]
        elif form == "generator":
            given = (others[i : i + 1] for i in range(len(others)))
        arguments = [
            probes.tolist(), labels.tolist(), None if gallery is None else gallery.tolist(),
            None if names is None else names.tolist(),
        ]  # fmt: skip
        found = verification.rank1(probes, labels, gallery, names, given, tile=tile)
        assert found == pytest.approx(reference.megaface(*arguments, others.tolist()), abs=1e-15)
        found = verification.rank1(probes, labels, gallery, names, others, protocol="gallery", tile=tile)
        assert found == pytest.approx(reference.nearest(*arguments, others.tolist()), abs=1e-15)
        found = verification.rank1(probes, labels, gallery, names, tile=tile)
        assert found == pytest.approx(reference.nearest(*arguments, []), abs=1e-15)

    def test_distractors_are_never_in_memory_at_once(self) -> None:
        rng = np.random.default_rng(0)
        probes = rng.standard_normal((6, 64))
        size = 500 * 64 * 8
        verification.rank1(probes, [0, 0, 1, 1, 2, 2], distractors=probes)  # what is imported at first use
        tracemalloc.start()
        try:
            chunks = (rng.standard_normal((500, 64)) for _ in range(100))
            verification.rank1(probes, [0, 0, 1, 1, 2, 2], distractors=chunks)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert size < peak < 8 * size

    def test_a_file_that_is_mapped_is_read_in_tiles(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        probes, distractors = rng.standard_normal((6, 8)), rng.standard_normal((500, 8)).astype(np.float32)
        np.save(tmp_path / "d.npy", distractors)
        mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
        labels = [0, 0, 1, 1, 2, 2]
        expected = reference.megaface(probes.tolist(), labels, None, None, distractors.astype(float).tolist())
        assert verification.rank1(probes, labels, distractors=mapped, tile=64) == expected

    def test_the_own_image_is_no_mate(self) -> None:
        # Each image's nearest is itself; without it, that of the other identity.
        faces = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.01], [0.01, 1.0]]
        assert verification.rank1(faces, [0, 0, 1, 1]) == 0
        assert verification.rank1(faces, [0, 0, 1, 1], faces, [0, 0, 1, 1]) == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"probe_labels": [0, 1, 1]}, "probe 0 of identity 0 has no image of its identity among the other probes"),
            ({"gallery": [[1.0, 2.0]], "gallery_labels": [1]}, "in the gallery .1 of 3 probes"),
            ({"gallery": [[1.0, 2.0]]}, "without gallery_labels"),
            ({"gallery_labels": [1]}, "without a gallery"),
            ({"gallery": [[1.0, 2.0]], "gallery_labels": [0, 1]}, "1 gallery features and 2 gallery_labels"),
            ({"gallery": [[1.0], [2.0]], "gallery_labels": [0, 1]}, "probes have 2 features and the gallery 1"),
            ({"distractors": [[1.0]]}, "probes have 2 features and distractors 1"),
            ({"distractors": [[1.0, 1.0], [0.0, 0.0]]}, "distractor 1 is zero"),
            ({"distractors": iter([np.ones((2, 2)), np.full((1, 2), np.inf)])}, "distractor 2 holds NaN or infinity"),
            ({"distractors": iter([])}, "hold no feature"),
            ({"protocol": "megaface"}, "there are none"),
            ({"protocol": "lfw"}, "expected 'megaface' or 'gallery'"),
            ({"tile": 0}, "tile=0"),
            ({"probes": [[0.0, 0.0]] * 3}, "probe 0 is zero"),
        ],
    )
    def test_what_does_not_fit(self, arguments: dict[str, Any], words: str) -> None:
        usual: dict[str, Any] = {"probes": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "probe_labels": [0, 0, 0]}
        if "gallery" in arguments:
            usual["probe_labels"] = [0, 1, 1]
        with pytest.raises(ValueError, match=words):
            verification.rank1(**{**usual, **arguments})


def _pairs_file(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


TWO_FOLDS = "2\t1\nAnna\t1\t2\nAnna\t1\tBert\t3\nCid\t4\t10\nCid\t4\tDora\t1\n"


class TestPairsFile:
    @pytest.mark.skipif(not LFW.exists(), reason="LFW's own file is not part of the project")
    def test_that_of_lfw(self) -> None:
        found = verification.read_pairs(LFW)
        assert len(found.images) == 7701
        assert found.pairs.same.sum() == 3000
        assert np.bincount(found.pairs.fold).tolist() == [600] * 10
        assert found.names[:2] == ("Abel_Pacheco_0001", "Abel_Pacheco_0004")

    def test_both_headers_and_both_separators(self, tmp_path: Path) -> None:
        found = verification.read_pairs(_pairs_file(tmp_path, TWO_FOLDS))
        assert found.images == (("Anna", 1), ("Anna", 2), ("Bert", 3), ("Cid", 4), ("Cid", 10), ("Dora", 1))
        pairs = found.pairs
        assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 3, 3], [1, 2, 4, 5])
        assert (pairs.same.tolist(), pairs.fold.tolist()) == ([True, False] * 2, [0, 0, 1, 1])
        spaces = verification.read_pairs(_pairs_file(tmp_path, "\ufeff1\nAnna 1 2\nAnna 1 Bert 3\n\n"))
        assert (len(spaces.pairs), spaces.pairs.folds) == (2, 1)
        named = verification.read_pairs(_pairs_file(tmp_path, "1\nAnna B\t1\t2\nAnna B\t1\tBert\t3"))
        assert named.names == ("Anna B_0001", "Anna B_0002", "Bert_0003")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "line 1: .* got an empty file"),
            ("ten 300\n", "line 1: .* got 'ten 300'"),
            ("1 1 1\n", "line 1: expected"),
            ("0 3\n", "line 1: expected"),
            ("1 1\nAnna 1 2\n", "line 1: 1 x 2 x 1 = 2 pairs are announced, and 1 lines follow"),
            ("1 1\nAnna 1 2\nAnna 1 Bert\n", "line 3: expected the number of an image, got 'Bert'"),
            ("1 1\nAnna 1 2\nAnna 1\n", "line 3: expected 'NAME i j'"),
            ("1 1\nAnna 1 2\n\nAnna 1 Bert 2", "line 1: .* 3 lines follow"),
            ("1 1\nAnna 1 2\nAnna 1 Anna 2\n", "line 3: 'Anna' stands twice"),
            ("1 1\nAnna 1 1\nAnna 1 Bert 2\n", "line 2: an image is paired with itself"),
            ("1 1\nAnna 1 2\nAnna 2 3\n", "lines 2 to 3: fold 1 has 2 pairs of the same person and 0"),
            ("1 1\n../etc/x 1 2\nAnna 2 Bert 3\n", "line 2: '../etc/x' is no name"),
            ("1 1\n..\t1\t2\nAnna\t2\tBert\t3\n", r"line 2: '\.\.' is no name"),
        ],
    )
    def test_lines_that_are_none(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(verification.PairsFileError, match=words):
            verification.read_pairs(_pairs_file(tmp_path, text))

    def test_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.txt").write_bytes(b"10 300\n\xff\xfe\n")
        with pytest.raises(verification.PairsFileError, match="no text in UTF-8"):
            verification.read_pairs(tmp_path / "pairs.txt")

    def test_files_and_rows(self, tmp_path: Path) -> None:
        named = verification.read_pairs(_pairs_file(tmp_path, TWO_FOLDS))
        folder = tmp_path / "images"
        folder.mkdir()
        expected = []
        for i, (person, name) in enumerate(zip([image[0] for image in named.images], named.names, strict=True)):
            place = folder / person if i % 2 else folder
            place.mkdir(exist_ok=True)
            expected.append(place / f"{name}{('.jpg', '.PNG', '.webp')[i % 3]}")
            expected[-1].touch()
        (folder / "Anna_0001.txt").touch()
        assert named.files(folder) == expected
        rows = named.rows([str(path) for path in reversed(expected)])
        assert rows.first.tolist() == [5, 5, 2, 2]
        assert rows.second.tolist() == [4, 3, 1, 0]
        assert (rows.same.tolist(), rows.fold.tolist()) == ([True, False] * 2, [0, 0, 1, 1])
        assert named.rows([r"c:\lfw\Mr. X_0001.jpg", *named.names]).first.tolist() == [1, 1, 4, 4]
        expected[0].unlink()
        with pytest.raises(ValueError, match=r"1 of the 6 images of the pairs are not in .*: Anna_0001"):
            named.files(folder)
        with pytest.raises(ValueError, match="5 of the 6 images of the pairs are not among 1 names"):
            named.rows(["Anna_0001"])
        with pytest.raises(ValueError, match="rows 0 and 1 are both named 'Anna_0001'"):
            named.rows(["Anna_0001", "x/Anna_0001.png"])
        expected[1].with_suffix(".gif").touch()
        with pytest.raises(ValueError, match="which one is meant"):
            named.files(folder)
        with pytest.raises(NotADirectoryError, match="is not a folder"):
            named.files(tmp_path / "nowhere")


IMAGES = [b"one", b"two\xff\x00", b"three", b"four" * 100]


def _bin(folder: Path, content: bytes) -> Path:
    path = folder / "set.bin"
    path.write_bytes(content)
    return path


class _Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class TestBinFiles:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize(
        "images",
        [
            IMAGES,
            [np.frombuffer(image, np.uint8) for image in IMAGES],
            [np.array([*image], np.uint8) for image in IMAGES],
        ],
        ids=["bytes", "views", "arrays"],
    )
    @pytest.mark.parametrize(
        "same",
        [[True, False], (1, 0), [np.True_, np.False_], np.array([True, False])],
        ids=["bools", "ints", "scalars", "array"],
    )
    def test_every_way_to_write_one(self, tmp_path: Path, protocol: int, images: Any, same: Any) -> None:
        found = verification.read_bin(_bin(tmp_path, pickle.dumps((images, same), protocol)))
        assert list(found.images) == IMAGES
        assert found.same.dtype == np.bool_
        assert found.same.tolist() == [True, False]

    @pytest.mark.parametrize("python2", ["protocol 0", "protocol 2"])
    def test_those_of_python_2(self, tmp_path: Path, python2: str) -> None:
        # As its pickle module writes ([b"a\xff", "b"], [True, False]): strings, not bytes.
        if python2 == "protocol 0":
            content = b"((lp1\nS'a\\xff'\np2\naS'b'\np3\na(lp4\nI01\natp5\n."
        else:
            content = b"\x80\x02]q\x00(U\x02a\xffq\x01T\x01\x00\x00\x00bq\x02e]q\x03\x88a\x86q\x04."
        found = verification.read_bin(_bin(tmp_path, content))
        assert (found.images, found.same.tolist()) == ((b"a\xff", b"b"), [True])

    def test_arrays_of_python_2(self, tmp_path: Path) -> None:
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I2\ntcnumpy\ndtype\n"
            b"(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nU\x02a\xfftb"
        )
        found = verification.read_bin(_bin(tmp_path, b"\x80\x02](" + 2 * array + b"e]\x88a\x86."))
        assert found.images == (b"a\xff", b"a\xff")

    def test_an_array_that_is_named_often_is_copied_once(self, tmp_path: Path) -> None:
        array = np.arange(9, dtype=np.uint8)
        found = verification.read_bin(_bin(tmp_path, pickle.dumps(([array] * 200, [True] * 100))))
        assert len({id(image) for image in found.images}) == 1

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "set.bin"
        verification.write_bin(path, IMAGES, [True, False])
        with path.open("rb") as file:
            assert pickle.load(file) == (IMAGES, [True, False])  # as other programs read it
        found = verification.read_bin(path)
        assert (found.images, repr(found)) == (tuple(IMAGES), f"BinSet({path}: 2 pairs, 1 same)")
        assert (len(found), found.read(1), found.where(1)) == (4, IMAGES[1], f"{path}, image 1")
        pairs = found.pairs(folds=1)
        assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 2], [1, 3])
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("images", "same", "words"),
        [
            (IMAGES[:3], [True, False], "3 images and 2 pairs"),
            ([b"", *IMAGES[1:]], [True, False], "image 0 is bytes of length 0"),
            (IMAGES, [1, 0], "one row of bool"),
            (["a", "b"], [True], "image 0 is 'a'"),
        ],
    )
    def test_nothing_else_is_written(self, tmp_path: Path, images: Any, same: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            verification.write_bin(tmp_path / "set.bin", images, same)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("protocol", [0, 2, 5])
    @pytest.mark.parametrize(
        ("attack", "asked"),
        [
            (_Calls(os.system, "touch pwned"), rf"asks for {os.name}\.system"),
            (_Calls(eval, "open('pwned', 'w')"), r"asks for (builtins|__builtin__)\.eval"),
            (_Calls(getattr, b"", "decode"), r"asks for (builtins|__builtin__)\.getattr"),
            (_Calls(np.load, "pwned"), r"asks for numpy\.load"),
            (_Calls(np.ndarray, (1 << 40,)), r"calls numpy\.ndarray"),
            (_Calls(np.dtype, "O"), "numpy array of type 'O'"),
            (np.array([_Calls(os.system, "touch pwned")], dtype=object), "asks for|numpy array of type 'O8'"),
            (np.array([None], dtype=object), "numpy array of type 'O8'"),
            (np.array([1.0]), "numpy array of type 'f8'"),
            (np.zeros(2, dtype=[("a", "u1")]), "numpy array of type 'V1'|has the instruction (EMPTY_)?DICT"),
            ({"a": 1}, "has the instruction (EMPTY_DICT|DICT)"),
            ({1}, r"has the instruction EMPTY_SET|asks for (builtins|__builtin__)\.set"),
            (1.5, "has the instruction (BINFLOAT|FLOAT)"),
            (Path("x"), "asks for pathlib"),
        ],
        ids=lambda value: "" if isinstance(value, str) else None,
    )
    @pytest.mark.parametrize("place", ["top", "images", "same", "nested"])
    def test_what_is_more_than_data_is_refused_and_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, attack: Any, asked: str, place: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        whole = {
            "top": attack,
            "images": ([b"a", attack], [True]),
            "same": ([b"a", b"b"], [attack]),
            "nested": ([b"a", ((([attack],),),)], [True]),
        }[place]
        with pytest.raises(verification.BinSetError, match=f"set.bin is refused: it .*({asked})"):
            verification.read_bin(_bin(tmp_path, pickle.dumps(whole, protocol)))
        assert not (tmp_path / "pwned").exists()

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"cos\nsystem\n(S'touch pwned'\ntR.", "asks for os.system"),
            (b"(S'touch pwned'\nios\nsystem\n.", "instruction INST"),
            (b"(cnumpy\nndarray\nI3\no.", "instruction OBJ"),
            (b"\x80\x02cbuiltins\neval\n)\x81.", "instruction NEWOBJ|asks for builtins.eval"),
            (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.", "asks for os.system"),
            (b"\x80\x04\x8c\x0cnumpy.dtype.\x8c\x01x\x93.", "asks for numpy.dtype..x"),
            (b"\x80\x02\x82\x01.", "instruction EXT1"),
            (b"Pid\n.", "instruction PERSID"),
            (b"\x80\x02U\x01aQ.", "instruction BINPERSID"),
            # A stand-in cannot be changed, and takes nothing but what it was made for.
            (b"\x80\x02cnumpy\ndtype\nU\x01xb.", "changes numpy.dtype"),
            (b"\x80\x02cnumpy\ndtype\nNU\x01x\x86b.", "changes numpy.dtype"),
            (b"\x80\x02cnumpy\ndtype\n)R.", "calls numpy.dtype with what it does not take"),
            (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "encodes text as 'hex'"),
            (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n)U\x01b\x87R.", "another class"),
            (b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R(K\x03U\x01|U\x01xNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
             "structured numpy type"),
            (b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02u1\x85RU\x02ab\x86R.", "in 2 bytes"),
            # A memo with a number that would only fill memory.
            (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers an object 2147483647"),
        ],
    )  # fmt: skip
    def test_pickles_made_by_hand(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(verification.BinSetError, match=f"is refused: it .*({words})"):
            verification.read_bin(_bin(tmp_path, content))
        assert not (tmp_path / "pwned").exists()

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"no pickle at all", "is damaged"),
            (pickle.dumps((IMAGES, [True, False]))[:-9], "is damaged"),
            (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"abc.", "is damaged"),
            (pickle.dumps(IMAGES), "holds list of length 4: expected a pair"),
            (pickle.dumps((IMAGES, [True])), "4 images and 1 pairs"),
            (pickle.dumps((IMAGES, [True, 2])), "whether pair 1 shows one person is 2"),
            (pickle.dumps((IMAGES, [True, 1 << 40_000])), "set.bin: whether pair 1 .* an int of 40001 bits"),
            (pickle.dumps((IMAGES, [True, b"x"])), "whether pair 1 shows one person is bytes of length 1"),
            (pickle.dumps((IMAGES, b"ab")), "bytes of length 2 where a list of bool"),
            (pickle.dumps((b"abcd", [True, False])), "bytes of length 4 where a list of images"),
            (pickle.dumps(([], [])), "holds no pair"),
            (pickle.dumps(([b"a", b""], [True])), "image 1 is bytes of length 0"),
            (pickle.dumps(([b"a", 3], [True])), "image 1 is 3"),
            (pickle.dumps(([b"a", np.zeros((2, 2), np.uint8)], [True])), r"image 1 is a numpy array of uint8, shape"),
            (pickle.dumps(([b"a", np.zeros(2, bool)], [True])), r"image 1 is a numpy array of bool"),
        ],
    )
    def test_what_is_no_such_set(self, tmp_path: Path, content: bytes, words: str) -> None:
        with pytest.raises(verification.BinSetError, match=words):
            verification.read_bin(_bin(tmp_path, content))

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_a_damaged_file_gives_one_kind_of_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        content = bytearray(pickle.dumps((IMAGES[:2], [np.True_]), data.draw(st.integers(0, 5))))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "damaged.bin"
        path.write_bytes(content)
        try:
            found = verification.read_bin(path)
        except verification.BinSetError:
            return
        assert all(isinstance(image, bytes) for image in found.images)


class _Features(nn.Module):
    """The mean of the left half and of the right half of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        half = images.shape[3] // 2
        return torch.stack([images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))], dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("these are the classes' scores")


class TestExtraction:
    images = Images(torch.arange(5 * 2 * 4, dtype=torch.uint8).reshape(5, 1, 2, 4) * 6, torch.arange(5))

    def test_features_of_the_image_and_of_its_mirror_image(self) -> None:
        model, seen = _Features().train(), []
        found, mirrored = extract(model, self.images, batch=2, progress=seen.append)
        expected = (self.images.images.float() - 127.5) / 128
        assert mirrored is not None
        np.testing.assert_allclose(found[:, 0], expected[..., :2].mean((1, 2, 3)), rtol=1e-6)
        np.testing.assert_array_equal(mirrored, found[:, ::-1])
        assert seen == [2, 4, 5]
        assert model.training
        assert model.norm.training

    def test_other_numbers_and_no_mirror_image(self) -> None:
        found, mirrored = extract(_Features(), self.images, mean=[3.0], std=[2.0], flip=False)
        assert mirrored is None
        np.testing.assert_allclose(found[0], [(0 + 6 + 24 + 30) / 8 - 1.5, (12 + 18 + 36 + 42) / 8 - 1.5])

    def test_a_layer_called_features_is_not_the_features(self) -> None:
        class Vgg(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features = nn.Identity()

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return images.flatten(1)

        assert extract(Vgg(), self.images)[0].shape == (5, 8)

    @pytest.mark.parametrize(
        ("model", "arguments", "words"),
        [
            (nn.Identity(), {}, r"gives \(5, 1, 2, 4\) for 5 images: expected \(5, D\)"),
            (nn.Flatten(0), {}, r"gives \(40,\)"),
            (nn.Flatten(), {"batch": 0}, "batch=0"),
            (nn.Flatten(), {"mean": [1.0, 2.0]}, "2 channels, the images 1"),
            (nn.Flatten(), {"std": 0.0}, "std=0.0"),
            (nn.Flatten(), {"mean": math.nan}, "mean=nan"),
        ],
    )
    def test_what_gives_no_features(self, model: nn.Module, arguments: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            extract(model, self.images, **arguments)
