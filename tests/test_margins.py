"""Margins and angular activations against their papers' formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_margins as literal
from onsphere.angular import ANGULAR, Cosine, Linear, Sigmoid
from onsphere.margins import (
    MARGINS,
    Annealed,
    ArcFace,
    Combined,
    CosFace,
    LSoftmax,
    SphereFace,
    margin_between,
    minimal_m,
    widest_class,
)

ANGLES = torch.linspace(0, math.pi, 1001, dtype=torch.float64)[1:-1] + 1e-5  # none on a corner


def value_and_slope(psi, theta):
    theta = theta.clone().requires_grad_()
    value = psi(theta)
    return value.detach(), torch.autograd.grad(value.sum(), theta)[0]


PAIRS = [
    *((SphereFace(m), lambda theta, m=m: literal.folded(theta, m)) for m in (1, 2, 3, 4, 1.35, 2.5)),
    *((LSoftmax(m), lambda theta, m=m: literal.folded(theta, m)) for m in (2, 3.7)),
    (CosFace(0.35), lambda theta: torch.cos(theta) - 0.35),
    *((ArcFace(m), lambda theta, m=m: literal.arcface(theta, m)) for m in (0.0, 0.5, 1.2)),
    (ArcFace(0.5, easy_margin=True), lambda theta: literal.arcface(theta, 0.5, easy=True)),
    (Combined(1.0, 0.3, 0.2), lambda theta: literal.combined(theta, 1.0, 0.3, 0.2)),
    (Combined(2.2, 0.4, 0.1), lambda theta: literal.combined(theta, 2.2, 0.4, 0.1)),
]


@pytest.mark.parametrize(("margin", "formula"), PAIRS, ids=lambda case: str(case) if not callable(case) else "")
def test_margins_are_their_formulas(margin, formula):
    ours, theirs = value_and_slope(margin.psi, ANGLES), value_and_slope(formula, ANGLES)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("m", range(1, 7))
def test_whole_m_is_the_polynomial_of_the_paper(m):
    folds = (m * ANGLES / math.pi).floor()
    expected = (-1) ** folds * literal.multiple_angle(ANGLES.cos(), m) - 2 * folds
    torch.testing.assert_close(LSoftmax(m).psi(ANGLES), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(SphereFace(m).psi(ANGLES), expected, rtol=0, atol=1e-10)


margins = st.one_of(
    st.floats(1, 8).map(SphereFace),
    st.floats(1, 8).map(LSoftmax),
    st.floats(0, 2).map(CosFace),
    st.floats(0, math.pi / 2).map(ArcFace),
    st.builds(Combined, st.floats(1, 5), st.floats(0, 3), st.floats(0, 1)),
    st.floats(1, 6).map(lambda m: Annealed(SphereFace(m), base=3.0)),
)
angles = st.floats(0, math.pi)


@given(margins, angles, angles)
def test_psi_falls_and_stays_below_the_cosine(margin, first, second):
    low, high = sorted((first, second))
    near, far = margin.psi(torch.tensor([low, high], dtype=torch.float64)).tolist()
    assert far <= near + 1e-12
    assert near <= math.cos(low) + 1e-12


@given(margins, angles)
def test_psi_has_no_gaps_but_where_arcface_says_so(margin, theta):
    step = 1e-9
    near, far = margin.psi(torch.tensor([theta, min(theta + step, math.pi)], dtype=torch.float64)).tolist()
    if isinstance(margin, ArcFace) and theta <= math.pi - margin.m <= theta + step:
        return
    assert abs(near - far) < 50 * step + 1e-12


@pytest.mark.parametrize("m", [0.1, 0.5, math.pi / 2])
def test_arcface_jumps_where_the_sum_passes_pi(m):
    corner = math.pi - m
    near, far = ArcFace(m).psi(torch.tensor([corner - 1e-12, corner + 1e-12], dtype=torch.float64)).tolist()
    assert near == pytest.approx(-1)
    assert far == pytest.approx(-math.cos(m) - m * math.sin(m))
    assert far < near


def test_special_cases_agree():
    torch.testing.assert_close(Combined(3.0).psi(ANGLES), SphereFace(3).psi(ANGLES))
    torch.testing.assert_close(Combined(m3=0.35).psi(ANGLES), CosFace(0.35).psi(ANGLES))
    below = ANGLES[math.pi - 0.5 > ANGLES]
    torch.testing.assert_close(Combined(m2=0.5).psi(below), ArcFace(0.5).psi(below))
    for none in (SphereFace(1), CosFace(0), ArcFace(0), Combined()):
        torch.testing.assert_close(none.psi(ANGLES), ANGLES.cos())


@pytest.mark.parametrize(
    ("angular", "formula"),
    [
        (Cosine(), torch.cos),
        (Linear(), literal.linear_g),
        *((Sigmoid(k), lambda theta, k=k: literal.sigmoid_g(theta, k)) for k in (0.1, 0.3, 1.0, 5.0)),
    ],
    ids=lambda case: (
        str(case) if hasattr(case, "of_cosine") else ""
    ),  # equal on all workers, as a function's address is not
)
def test_angular_activations_are_their_formulas(angular, formula):
    ours, theirs = value_and_slope(angular, ANGLES), value_and_slope(formula, ANGLES)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-10)
    by_cosine = value_and_slope(lambda theta: angular.of_cosine(theta.cos()), ANGLES)
    torch.testing.assert_close(by_cosine[0], theirs[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(by_cosine[1], theirs[1], rtol=0, atol=1e-8)
    ends = torch.tensor([0, math.pi], dtype=torch.float64)
    torch.testing.assert_close(angular(ends), torch.tensor([1.0, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("angular", [kind() for kind in ANGULAR.values()] + [Sigmoid(1e-3)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_angular_activations_bear_cosines_beyond_one(angular, dtype):
    cosine = torch.tensor([-1.01, -1, -0.5, 0, 0.5, 1, 1.01], dtype=dtype, requires_grad=True)
    value = angular.of_cosine(cosine)
    (slope,) = torch.autograd.grad(value.sum(), cosine)
    assert value.isfinite().all()
    assert slope.isfinite().all()
    assert (value.diff() >= 0).all()


@pytest.mark.parametrize("m", [1, 2.5, 4])
def test_the_linear_one_needs_no_folding(m):
    torch.testing.assert_close(SphereFace(m).psi(ANGLES, Linear()), 1 - 2 * m * ANGLES / math.pi)


@pytest.mark.parametrize("m", [1, 2.5, 4])
def test_the_sigmoid_one_is_folded_as_the_cosine_is(m):
    angular = Sigmoid(0.3)
    theirs = literal.folded(ANGLES, m, lambda theta: literal.sigmoid_g(theta, 0.3))
    torch.testing.assert_close(SphereFace(m).psi(ANGLES, angular), theirs, rtol=0, atol=1e-10)


def test_annealing_is_the_schedule_of_the_paper():
    annealed = Annealed(SphereFace(4))
    for step in range(0, 2000, 37):
        annealed.iteration.fill_(step)
        expected = literal.annealing(step, 1000, 0.12, 1, 5)
        assert annealed.weight.item() == pytest.approx(expected, rel=1e-6)
        mixed = (expected * ANGLES.cos() + literal.folded(ANGLES, 4)) / (1 + expected)
        torch.testing.assert_close(annealed.psi(ANGLES), mixed, rtol=0, atol=1e-6)
    assert annealed.weight.item() == 5


def test_the_count_is_saved():
    annealed = Annealed(SphereFace(4))
    annealed.advance()
    annealed.advance()
    other = Annealed(SphereFace(4))
    other.load_state_dict(annealed.state_dict())
    assert other.iteration.item() == 2


def test_a_module_from_the_meta_device_counts_from_0():
    annealed = Annealed(SphereFace(4)).to("meta").to_empty(device="cpu")
    annealed.iteration.fill_(-7)  # what is in fresh memory
    annealed.reset_parameters()
    assert annealed.weight.item() == 1000


@pytest.mark.parametrize("theta", torch.linspace(0.05, math.pi, 12).tolist())
def test_the_minimal_m_is_where_classes_become_narrower_than_gaps(theta):
    least = minimal_m(2)
    theta = min(theta, math.pi)
    assert widest_class(least + 1e-9, theta) <= margin_between(least + 1e-9, theta) + 1e-12
    below = least - 1e-3
    angle = min(theta, (below - 1) / below * math.pi)  # where the first inequality holds, or its corner
    assert widest_class(below, angle) > margin_between(below, angle)


def test_the_minimal_m_for_many_classes():
    step = 2 * math.pi / 10
    for m, fits in ((3.0 + 1e-9, True), (3.0 - 1e-3, False)):
        assert (2 * step / (m + 1) <= margin_between(m, step)) is fits
    assert minimal_m(10) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SphereFace(0.5), "m=0.5: expected a finite number of at least 1"),
        (lambda: LSoftmax(math.nan), "m=nan"),
        (lambda: CosFace(-0.1), "m=-0.1: expected a finite number of at least 0"),
        (lambda: ArcFace(2.5), "m=2.5: expected radians in"),  # psi would rise where the sum passes pi
        (lambda: ArcFace(28.6), "28.6 degrees are 0.4992 radians"),
        (lambda: Combined(0.9), "m1=0.9"),
        (lambda: Combined(m2=4.0), "m2=4.0"),
        (lambda: Combined(m3=-1.0), "m3=-1.0"),
        (lambda: Annealed(Annealed(SphereFace(2))), "not annealed itself"),
        (lambda: Annealed(SphereFace), "expected a margin such as"),
        (lambda: Annealed(SphereFace(2), base=-1), "base=-1"),
        (lambda: Sigmoid(0), "k=0: expected a finite number above 0"),
        (lambda: minimal_m(1), "num_classes=1"),
        (lambda: widest_class(1.5, 1.0), "m=1.5"),
        (lambda: margin_between(2, 4.0), "theta=4.0"),
        (lambda: ArcFace().psi(ANGLES, Linear()), "expected Cosine()"),
    ],
)
def test_mistakes_are_explained(make, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        make()


def test_the_table_makes_every_margin():
    for kind in MARGINS.values():
        assert kind().psi(ANGLES).shape == ANGLES.shape
