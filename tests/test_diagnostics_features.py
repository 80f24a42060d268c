"""Scores of features against their literal formulas, their invariances, closed forms and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference_features as reference
from onsphere import sphere
from onsphere.diagnostics import (
    angle_histograms,
    angular_fisher_score,
    angular_visual_hardness,
    cosine_confusion,
    model_confidence,
    weight_norms,
)
from onsphere.diagnostics.features import pairs as pairs_module


def some(n: int = 40, d: int = 5, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features around their class's weight, labels and weights; every class occurs."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    labels = torch.cat(
        [torch.arange(classes).repeat(2), torch.randint(classes, (n - 2 * classes,), generator=generator)]
    )
    features = weight[labels] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    return features, labels, weight


def rotation(d: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


@pytest.mark.parametrize(("n", "d", "classes"), [(12, 2, 2), (40, 5, 4), (30, 17, 7)])
def test_scores_are_their_literal_formulas(n: int, d: int, classes: int) -> None:
    features, labels, weight = some(n, d, classes)
    bias = torch.linspace(-1, 1, classes, dtype=torch.float64)
    assert angular_fisher_score(features, labels) == pytest.approx(
        reference.angular_fisher_score(features, labels), rel=1e-12
    )
    hardness = angular_visual_hardness(features, labels, weight)
    assert hardness.tolist() == pytest.approx(reference.angular_visual_hardness(features, labels, weight), rel=1e-12)
    confidence = model_confidence(features, labels, weight, bias)
    assert confidence.tolist() == pytest.approx(reference.model_confidence(features, labels, weight, bias), rel=1e-12)
    assert torch.equal(
        model_confidence(features, labels, weight), model_confidence(features, labels, weight, torch.zeros(classes))
    )
    confusion = cosine_confusion(features, labels, classes)
    assert torch.allclose(confusion, reference.cosine_confusion(features, labels, classes), rtol=0, atol=1e-13)


@pytest.mark.parametrize("bins", [1, 7, 90])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_histograms_count_every_pair_once(bins: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, _ = some(50, 3, 4)
    features[0] = features[4]  # of one class: an angle of 0
    features[1] = -features[2]  # of two classes: an angle of pi
    features = features.to(dtype)
    monkeypatch.setattr(pairs_module, "_TILE", 16)  # several tiles, the last one not full
    found = angle_histograms(features, labels, bins)
    intra, inter = (
        np.histogram(angles, bins=bins, range=(0, math.pi))[0] for angles in reference.pair_angles(features, labels)
    )
    assert found.intra.tolist() == intra.tolist()
    assert found.inter.tolist() == inter.tolist()
    assert int(found.intra.sum() + found.inter.sum()) == 50 * 49 // 2
    assert found.edges.tolist() == pytest.approx(np.linspace(0, math.pi, bins + 1).tolist())


def test_angles_next_to_0_and_pi_are_in_the_first_and_the_last_bin() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 1e-9], [-1.0, 1e-9], [0.0, 0.0]], dtype=torch.float64)
    found = angle_histograms(features, torch.zeros(4, dtype=torch.int64), bins=1001)
    assert found.intra.nonzero().flatten().tolist() == [0, 500, 1000]
    assert found.intra[[0, 500, 1000]].tolist() == [1, 3, 2]  # the zero feature is at right angles to the others
    assert not found.inter.any()


def test_a_sample_of_pairs_has_the_shares_of_all_pairs() -> None:
    features, labels, _ = some(60, 3, 4)
    labels[labels == 2] = 6  # numbers that do not occur, and classes of different sizes
    labels[-1] = 9  # a class of one, which has no pair of its own
    every = angle_histograms(features, labels, bins=9)
    drawn = angle_histograms(features, labels, bins=9, sample=40_000, seed=1)
    for some_pairs, all_pairs in ((drawn.intra, every.intra), (drawn.inter, every.inter)):
        assert int(some_pairs.sum()) == 40_000
        share = all_pairs / all_pairs.sum()
        assert torch.allclose(some_pairs / 40_000, share, atol=5 * 0.5 / 200)  # five standard deviations at most
    again = angle_histograms(features, labels, bins=9, sample=40_000, seed=1)
    other = angle_histograms(features, labels, bins=9, sample=40_000, seed=2)
    assert torch.equal(drawn.intra, again.intra)
    assert not torch.equal(drawn.intra, other.intra)


def test_every_pair_is_drawn_equally_often_and_none_with_itself() -> None:
    labels = torch.tensor([3, 0, 3, 0, 3, 5])
    (i, j), (k, m) = pairs_module._drawn_pairs(labels, 60_000, torch.Generator().manual_seed(0))
    assert (labels[i] == labels[j]).all()
    assert (i != j).all()
    assert (labels[k] != labels[m]).all()
    for first, second, count in ((i, j, 2 + 6), (k, m, 30 - 2 - 6)):  # ordered pairs
        times = torch.bincount(6 * first + second)
        times = times[times > 0]
        assert len(times) == count
        mean = 60_000 / count
        assert (times - mean).abs().max() < 5 * mean**0.5


def test_a_kind_of_pair_that_does_not_occur_is_counted_zero_times() -> None:
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    alone = angle_histograms(features, torch.arange(4), sample=10)
    assert (int(alone.intra.sum()), int(alone.inter.sum())) == (0, 10)
    together = angle_histograms(features, torch.zeros(4, dtype=torch.int64), sample=10)
    assert (int(together.intra.sum()), int(together.inter.sum())) == (10, 0)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_rotation_scale_and_order_change_nothing(seed: int, scale: float) -> None:
    features, labels, weight = some(20, 4, 3, seed)
    turn = rotation(4, seed)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    renamed = torch.tensor([1, 2, 0])
    afs = angular_fisher_score(features, labels)
    assert angular_fisher_score(scale * features @ turn, labels) == pytest.approx(afs, rel=1e-9)
    assert angular_fisher_score(features[order], renamed[labels[order]]) == pytest.approx(afs, rel=1e-9)
    lengths = torch.linspace(0.5, 2, 20, dtype=torch.float64)[:, None]
    hardness = angular_visual_hardness(features, labels, weight)
    turned = angular_visual_hardness(lengths * features @ turn, labels, scale * weight @ turn)
    assert torch.allclose(turned, hardness, atol=1e-12)
    assert torch.equal(angular_visual_hardness(features[order], labels[order], weight), hardness[order])
    confidence = model_confidence(features, labels, weight)
    assert torch.allclose(model_confidence(features @ turn, labels, weight @ turn), confidence, atol=1e-12)
    assert torch.allclose(model_confidence(features / scale, labels, scale * weight), confidence, atol=1e-12)
    confusion = cosine_confusion(features, labels, 3)
    moved = cosine_confusion((lengths * features @ turn)[order], renamed[labels[order]], 3)
    assert torch.allclose(moved[renamed][:, renamed], confusion, atol=1e-12)
    histograms = angle_histograms(features, labels)
    mixed = angle_histograms((lengths * features)[order], renamed[labels[order]])
    assert torch.equal(mixed.intra, histograms.intra)
    assert torch.equal(mixed.inter, histograms.inter)


def test_the_fisher_score_depends_on_the_lengths_of_single_features() -> None:
    features, labels, _ = some()
    longer = features.clone()
    longer[0] *= 10  # m_i is the mean of the features as they are
    assert angular_fisher_score(longer, labels) != pytest.approx(angular_fisher_score(features, labels), rel=1e-3)


def test_the_fisher_score_where_it_is_known() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    labels = torch.tensor([0, 0, 1, 1])
    assert angular_fisher_score(torch.stack([east, 3 * east, north, north]), labels) == 0
    assert angular_fisher_score(torch.stack([east, -east, -2 * east]), torch.tensor([0, 1, 1])) == 0
    # Two classes at 60 degrees from each other, the features 10 degrees to either side of their mean.
    degrees = torch.tensor([20.0, 40.0, 80.0, 100.0], dtype=torch.float64).deg2rad()
    fan = torch.stack([degrees.cos(), degrees.sin()], 1)
    known = (1 - math.cos(math.radians(10))) / (1 - math.cos(math.radians(30)))
    assert angular_fisher_score(fan, labels) == pytest.approx(known, rel=1e-12)
    # Class means opposite to each other and equally large: the mean of all is zero, at right angles to everything.
    cross = torch.stack([east + north, east - north, -east + north, -east - north])
    assert angular_fisher_score(cross, labels) == pytest.approx(1 - math.sqrt(0.5), rel=1e-7)
    same = torch.stack([east, north, east, north])
    assert angular_fisher_score(same, torch.tensor([0, 0, 1, 1])) == math.inf
    assert math.isnan(angular_fisher_score(torch.ones(4, 2), labels))


def test_the_fisher_score_keeps_its_digits_for_tight_classes() -> None:
    spread = 1e-7
    angles = torch.tensor([-spread, spread, 1 - spread, 1 + spread], dtype=torch.float64)
    fan = torch.stack([angles.cos(), angles.sin()], 1)
    known = (spread**2 / 2) / (1 - math.cos(0.5))
    assert angular_fisher_score(fan, torch.tensor([0, 0, 1, 1])) == pytest.approx(known, rel=1e-6)


def test_hardness_where_it_is_known() -> None:
    weight = torch.eye(3, dtype=torch.float64)
    features = torch.tensor([[1.0, 1e-9, 0.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).double()
    hardness = angular_visual_hardness(features, torch.zeros(4, dtype=torch.int64), weight)
    known = [1e-9 / math.pi, 1 / 3, 1 / 2, 1 / 3]  # the angle of 1e-9 with all its digits; pi; a right angle
    assert hardness.tolist() == pytest.approx(known, rel=1e-8)
    assert torch.isnan(angular_visual_hardness(weight[:1], torch.tensor([0]), weight[:1])).all()


def test_confidence_neither_overflows_nor_rounds_to_float32() -> None:
    weight = torch.tensor([[1e4], [-1e4], [0.0]])
    confidence = model_confidence(torch.tensor([[1.0], [1e-4]]), torch.tensor([0, 1]), weight)
    known = math.exp(-1) / (math.e + 1 / math.e + 1)
    assert confidence.dtype == torch.float64
    assert confidence.tolist() == pytest.approx([1.0, known], rel=1e-6)


def test_confusion_of_classes_without_pairs_is_nan() -> None:
    x = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    confusion = cosine_confusion(x, torch.tensor([0, 0, 1, 3]), 4)
    nan = math.nan
    expected = torch.tensor([[1.0, 0.0, nan, 0.0], [0.0, nan, nan, 0.0], [nan] * 4, [0.0, 0.0, nan, nan]])
    assert torch.equal(confusion.isnan(), expected.isnan())
    assert torch.allclose(confusion.nan_to_num(), expected.double().nan_to_num())


@pytest.mark.parametrize("seed", range(3))
def test_weight_norms_and_their_rank_correlation(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(9, 4, generator=generator)
    labels = torch.randint(7, (60,), generator=generator)  # two classes have no features
    found = weight_norms(weight, labels)
    norms = [math.sqrt(sum(float(w) ** 2 for w in row)) for row in weight]
    counts = [labels.tolist().count(i) for i in range(9)]
    assert found.norms.tolist() == pytest.approx(norms, rel=1e-12)
    assert found.counts.tolist() == counts
    assert found.rank_correlation == pytest.approx(reference.spearman(norms, [float(n) for n in counts]), abs=1e-12)
    upside_down = weight_norms(weight / found.norms[:, None].square(), labels)
    assert upside_down.rank_correlation == pytest.approx(-found.rank_correlation, abs=1e-12)


def test_there_is_no_rank_correlation_in_a_balanced_set() -> None:
    weight = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert math.isnan(weight_norms(weight, torch.tensor([0, 1, 2])).rank_correlation)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, weight = some(50, 6, 5)

    def everything() -> list[Tensor]:
        return [
            torch.tensor(angular_fisher_score(features, labels)),
            angular_visual_hardness(features, labels, weight),
            model_confidence(features, labels, weight),
            cosine_confusion(features, labels, 5),
            angle_histograms(features, labels, sample=100).inter.double(),
        ]

    whole = everything()
    monkeypatch.setattr(sphere, "_SCRATCH", 42)  # seven rows at once
    assert sphere.rows_at_once(6) == 7
    for piecewise, expected in zip(everything(), whole, strict=True):
        assert torch.allclose(piecewise, expected, rtol=1e-12, atol=1e-13)


def test_inputs_stay_as_they_are_and_carry_no_gradient() -> None:
    features, labels, weight = some()
    features.requires_grad_()
    weight.requires_grad_()
    before, labels_before = features.detach().clone(), labels.clone()
    results = [
        angular_visual_hardness(features, labels, weight),
        model_confidence(features, labels, weight),
        cosine_confusion(features, labels, 4),
        weight_norms(weight, labels).norms,
    ]
    angular_fisher_score(features, labels.int())
    angle_histograms(features, labels)
    assert not any(result.requires_grad for result in results)
    assert torch.equal(features, before)
    assert torch.equal(labels, labels_before)


GOOD, LABELS, WEIGHT = torch.ones(3, 2), torch.tensor([0, 1, 1]), torch.ones(2, 2)
CALLS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "fisher": angular_fisher_score,
    "hardness": lambda x, y: angular_visual_hardness(x, y, WEIGHT),
    "confidence": lambda x, y: model_confidence(x, y, WEIGHT),
    "histograms": angle_histograms,
    "confusion": lambda x, y: cosine_confusion(x, y, 2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (GOOD[0], LABELS, r"features: expected a floating-point matrix with one image a row, got torch.float32 \(2,\)"),
        (GOOD.long(), LABELS, r"features: expected a floating-point matrix .* got torch.int64 \(3, 2\)"),
        (GOOD[:0], LABELS[:0], r"features: .* got torch.float32 \(0, 2\)"),
        (GOOD, LABELS[:2], r"labels have shape \(2,\): expected \(3,\)"),
        (GOOD, LABELS[:, None], r"labels have shape \(3, 1\): expected \(3,\)"),
        (GOOD, LABELS.float(), r"labels are torch.float32 \(3,\): expected integers"),
        (GOOD, LABELS - 1, r"labels are from -1 to 0: expected numbers from 0"),
        (GOOD.index_fill(0, torch.tensor([1]), math.nan), LABELS, r"features: 2 of 6 numbers are NaN or infinite"),
        (GOOD.index_fill(0, torch.tensor([1]), -math.inf), LABELS, r"features: 2 of 6 numbers are NaN or infinite"),
    ],
)
def test_bad_features_and_labels_are_named(call: str, features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CALLS[call](features, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: angular_fisher_score(GOOD, LABELS * 0), r"all 3 features are of one class: expected at least two"),
        (lambda: angular_visual_hardness(GOOD, 2 * LABELS, WEIGHT), r"labels are from 0 to 2: .* from 0 to 1"),
        (lambda: angular_visual_hardness(GOOD, LABELS, torch.ones(2, 3)), r"weight has 3 columns: expected 2"),
        (lambda: model_confidence(GOOD, LABELS, WEIGHT * math.nan), r"weight: 4 of 4 numbers are NaN"),
        (lambda: model_confidence(GOOD, LABELS, WEIGHT, torch.ones(3)), r"bias is torch.float32 \(3,\): expected .*2,"),
        (lambda: model_confidence(GOOD, LABELS, WEIGHT, torch.ones(2) / 0), r"bias: 2 of 2 numbers are NaN"),
        (lambda: cosine_confusion(GOOD, 2 * LABELS, 2), r"labels are from 0 to 2: expected numbers from 0 to 1"),
        (lambda: cosine_confusion(GOOD, LABELS, 0), r"num_classes=0: expected at least 1"),
        (lambda: angle_histograms(GOOD, LABELS, 0), r"bins=0: expected at least 1"),
        (lambda: angle_histograms(GOOD, LABELS, sample=0), r"sample=0: expected at least 1, or None"),
        (lambda: weight_norms(WEIGHT[0], LABELS), r"weight: expected a floating-point matrix with one class a row"),
        (lambda: weight_norms(WEIGHT, 2 * LABELS), r"labels are from 0 to 2: expected numbers from 0 to 1"),
        (lambda: weight_norms(WEIGHT, LABELS.bool()), r"labels are torch.bool \(3,\): expected integers"),
    ],
)
def test_what_does_not_fit_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
