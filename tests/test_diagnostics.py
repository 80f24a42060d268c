"""The inspection: each number against a literal one, random directions against simulation, what is read of a model."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from torch import Tensor, nn

import known
import onsphere as osp
import reference
from onsphere import diagnostics, sphere
from onsphere.diagnostics import LayerReport, random_directions
from onsphere.diagnostics.tally import BINS, tally

ENERGIES = [(f"{'half_' if half else ''}E_{s}", s, half) for half in (False, True) for s in (0, 1, 2)]


def one(weight: Tensor, **settings: Any) -> LayerReport:
    """The report of a single matrix."""
    (layer,) = diagnostics.inspect({"weight": weight}, **settings).layers
    return layer


def draw(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def crowded(largest: float = 1e30) -> Tensor:
    """Rows that are equal, opposite, nearly equal at all scales, zero, tiny and huge."""
    w = draw(24, 6)
    w[1], w[2], w[3] = w[0], -2 * w[0], w[0] + 1e-3 * w[5]
    w[7] = w[6] + 3e-6 * w[8]
    w[10] = w[9] + 2e-7 * w[8]
    w[12] = -w[11] + 2e-5 * w[8]
    w[13] = 0
    w[14] /= largest
    w[15] *= largest
    return w


# --- the pass over the pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weight",
    [draw(7, 3), draw(30, 5).float(), draw(20, 300).half(), draw(9, 1), draw(2, 4), crowded(), crowded(64).float()],
    ids=["small", "float32", "half", "one dimension", "two rows", "crowded", "crowded float32"],
)
@pytest.mark.parametrize("threshold", [0.2, -0.1])
def test_every_number_is_the_literal_one(weight: Tensor, threshold: float) -> None:
    layer = one(weight, threshold=threshold)
    expected = reference.pair_counts(weight, threshold)
    assert layer.pairs == expected["pairs"]
    assert layer.pairs_above == expected["above"]
    assert layer.near_duplicate_pairs == expected["near_duplicate_pairs"]
    assert layer.near_duplicates == expected["near_duplicates"]
    assert math.radians(layer.minimum_angle_deg) == pytest.approx(expected["angle"], rel=1e-6, abs=1e-15)
    assert layer.zero == int((weight.abs().amax(1) == 0).sum())
    for name, s, half in ENERGIES:
        literal = float(reference.mhe(weight, float(s), half_space=half))
        assert layer.energies[name] == pytest.approx(literal, rel=2e-6), name
    units = sphere.directions(weight.double()).unit(slice(None))
    cosines = (units @ units.T)[tuple(torch.triu_indices(len(units), len(units), 1))]
    assert sum(layer.histogram) == len(cosines)
    for edge in (-0.9, -0.25, 0.0, 0.1, 0.75):  # no cosine of these rows lies within rounding of them
        below = sum(layer.histogram[: round((edge + 1) / 2 * BINS)])
        assert below == int((cosines < edge).sum())


@pytest.mark.parametrize(("n", "d"), [(65, 4), (1025, 3), (2400, 4)])
def test_tiles_make_no_difference(n: int, d: int) -> None:
    """Sizes at which there is one tile, several rows of tiles and several columns, against one dense matrix."""
    weight = draw(n, d).float()
    weight[n - 1] = weight[0] * 2  # a duplicate at the far ends
    found = tally(sphere.directions(weight), 0.2)
    units = weight.double() / weight.double().norm(dim=1, keepdim=True)
    i, j = torch.triu_indices(n, n, 1)
    cosines = (units @ units.T)[i, j]
    assert found.pairs == len(cosines) == sum(found.histogram)
    assert found.above == pytest.approx(int((cosines > 0.2).sum()), abs=2)  # some lie within rounding of 0.2
    near = cosines > math.cos(math.radians(1))
    assert found.near_duplicate_pairs == int(near.sum())
    assert found.near_duplicates == len(torch.cat([i[near], j[near]]).unique())
    assert found.angle == 0.0
    for s in (0, 1):
        for sums, sign in ((found.energy, -2.0), (found.mirrored, 2.0)):
            distance = torch.addcmul(torch.tensor(2.0).double(), cosines, torch.tensor(sign).double())
            distance = distance.clamp_min(1e-12).sqrt()
            expected = -distance.log().sum() if s == 0 else (1 / distance).sum()
            assert sums[s] == pytest.approx(float(expected), rel=1e-5)


def test_progress_counts_every_pair_once() -> None:
    steps: list[int] = []
    found = tally(sphere.directions(draw(1300, 3)), 0.2, steps.append)
    assert sum(steps) == found.pairs == 1300 * 1299 // 2
    assert len(steps) > 3


def test_energies_are_those_of_the_regularizer() -> None:
    weight = draw(300, 12)
    layer = one(weight)
    for name, s, half in ENERGIES:
        assert layer.energies[name] == pytest.approx(float(osp.functional.mhe(weight, float(s), half_space=half)))


@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_neither_lengths_nor_order_matter(seed: int, scale: float) -> None:
    weight = draw(12, 4, seed)
    lengths = torch.linspace(scale, 1.0, 12, dtype=torch.float64)[:, None]
    other = (weight * lengths)[torch.randperm(12, generator=torch.Generator().manual_seed(seed))]
    a, b = one(weight), one(other)
    assert (a.pairs_above, a.near_duplicates, a.histogram) == (b.pairs_above, b.near_duplicates, b.histogram)
    assert a.minimum_angle_deg == pytest.approx(b.minimum_angle_deg)
    assert a.energies == pytest.approx(b.energies)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_a_cross_polytope_is_the_best_there_is(d: int) -> None:
    layer = one(known.cross_polytope(d))
    assert layer.minimum_angle_deg == pytest.approx(90.0)
    assert layer.best_angle_deg == pytest.approx(90.0)
    assert (layer.pairs_above, layer.near_duplicates, layer.zero) == (0, 0, 0)
    n = 2 * d  # every direction has 2 d - 2 neighbours at sqrt 2 and one at 2
    assert layer.energies["E_2"] == pytest.approx(((n - 2) / 2 + 1 / 4) / (n - 1))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_simplex_is_the_best_there_is(n: int) -> None:
    layer = one(known.simplex(n))
    assert layer.best_angle_deg == pytest.approx(math.degrees(math.acos(-1 / (n - 1))))
    assert layer.minimum_angle_deg == pytest.approx(layer.best_angle_deg)


def test_the_icosahedron() -> None:
    layer = one(known.icosahedron())
    assert layer.minimum_angle_deg == pytest.approx(math.degrees(math.acos(1 / math.sqrt(5))))
    assert layer.best_angle_deg is None  # 12 > 2 d
    assert layer.energies["E_1"] == pytest.approx(known.THOMSON_12 / 66)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_close_or_opposite_pair_keeps_its_digits(sign: float) -> None:
    """Of 3e-6 apart the cosine alone leaves four or five digits."""
    apart = torch.tensor([[1.0, 0.0, 0.0], [sign, 3e-6, 0.0]], dtype=torch.float64)
    chord = 2 * math.sin(math.atan(3e-6) / 2)
    layer = one(apart)
    antipodes = 2 * 2 / 4  # of the 12 ordered pairs of {u, -u, v, -v}, four are at 2, four close and four far
    far = 1 / (4 - chord**2)
    assert layer.energies["E_2"] == pytest.approx(1 / chord**2 if sign > 0 else far, rel=1e-9)
    assert layer.energies["half_E_2"] == pytest.approx((4 / chord**2 + 4 * far + antipodes) / 12, rel=1e-9)


def test_equal_rows() -> None:
    layer = one(torch.ones(40, 8))
    assert layer.minimum_angle_deg == 0.0
    assert (layer.near_duplicates, layer.near_duplicate_pairs, layer.pairs_above) == (40, 780, 780)
    assert layer.energies["E_1"] == pytest.approx(1e6)  # closer than 1e-6 counts as 1e-6 apart
    assert layer.more_correlated
    assert layer.closer
    assert "E_1" in layer.high_energies


# --- random directions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [3, 4, 6, 9, 27, 512])
def test_the_expected_energies_are_the_closed_forms(d: int) -> None:
    a = (d - 1) / 2
    log = random_directions.energy(0, d, [2])
    assert log.mean == pytest.approx((special.psi(2 * a) - special.psi(a)) / 2 - math.log(2), abs=1e-12)
    assert log.std == pytest.approx(math.sqrt(special.polygamma(1, a) - special.polygamma(1, 2 * a)) / 2)

    def moment(power: float) -> float:
        """E rho^-power, by the Beta law of rho^2 / 4."""
        p = power / 2
        if p >= a:
            return math.inf
        log_gammas = special.gammaln(a - p) + special.gammaln(2 * a) - special.gammaln(a) - special.gammaln(2 * a - p)
        return 2**-power * math.exp(log_gammas)

    for s in (1, 2):
        found = random_directions.energy(s, d, [2])
        assert found.mean == pytest.approx(moment(s), rel=1e-10)
        assert found.std == pytest.approx(
            math.sqrt(moment(2 * s) - moment(s) ** 2) if moment(s) < math.inf else math.inf
        )


def test_moments_that_do_not_exist_are_infinite() -> None:
    assert random_directions.energy(1, 2, [5]).mean == math.inf
    assert random_directions.energy(2, 3, [5]).mean == math.inf
    for s, d in ((1, 3), (2, 4), (2, 5)):
        for half in (False, True):
            assert math.isfinite(random_directions.energy(s, d, [5], half).mean)
            assert random_directions.energy(s, d, [5], half).std == math.inf
    assert random_directions.energy(0, 1, [5]).mean == math.inf


@pytest.mark.parametrize("d", [512, 200_000])
def test_a_small_spread_in_high_dimensions_keeps_its_digits(d: int) -> None:
    """In half space all odd terms of the pair's energy cancel; s = 2 has a rational variance."""
    a = (d - 1) / 2
    # Var(f + f') = 2 E f^2 + 2 E f f' - 4 (E f)^2 with the moments of the Beta law, brought to one fraction.
    exact = (2 * a - 1) / (4 * (a - 1) ** 2 * (a - 2))
    n = 10
    pairs, ordered = n * (n - 1) / 2, 2 * n * (2 * n - 1)
    found = random_directions.energy(2, d, [n], half_space=True)
    assert found.std == pytest.approx(4 * math.sqrt(exact * pairs) / ordered, rel=1e-8)


@pytest.fixture(scope="module")
def drawn() -> Mapping[tuple[int, int], Tensor]:
    """Cosines of all pairs of n random directions in d dimensions, many times: (draws, pairs)."""
    found = {}
    for n, d, times in ((6, 9, 8000), (40, 12, 1500), (20, 2, 3000), (2, 3, 4000)):
        generator = torch.Generator().manual_seed(d)
        units = nn.functional.normalize(torch.randn(times, n, d, generator=generator, dtype=torch.float64), dim=2)
        i, j = torch.triu_indices(n, n, 1)
        found[n, d] = (units @ units.mT)[:, i, j]
    return found


@pytest.mark.parametrize(("n", "d"), [(6, 9), (40, 12)])
@pytest.mark.parametrize(("name", "s", "half"), ENERGIES)
def test_expected_energies_agree_with_simulation(
    drawn: Mapping[tuple[int, int], Tensor], n: int, d: int, name: str, s: int, half: bool
) -> None:
    def f(squared: Tensor) -> Tensor:
        return -squared.log() / 2 if s == 0 else squared ** (-s / 2)

    cosines = drawn[n, d]
    values = f(2 - 2 * cosines).mean(1)
    if half:
        both = (f(2 - 2 * cosines) + f(2 + 2 * cosines)).sum(1)
        values = (4 * both + 2 * n * float(f(torch.tensor(4.0).double()))) / (2 * n * (2 * n - 1))
    check(values, random_directions.energy(s, d, [n], half))


@pytest.mark.parametrize(("n", "d"), [(6, 9), (40, 12), (20, 2), (2, 3)])
def test_expected_shares_agree_with_simulation(drawn: Mapping[tuple[int, int], Tensor], n: int, d: int) -> None:
    cosines = drawn[n, d]
    check((cosines > 0.2).double().mean(1), random_directions.share_above(0.2, d, cosines.shape[1]))


@pytest.mark.parametrize(("n", "d", "off"), [(6, 9, 0.01), (40, 12, 0.0), (20, 2, 0.0), (2, 3, 0.0)])
def test_expected_minimum_angles_agree_with_simulation(
    drawn: Mapping[tuple[int, int], Tensor], n: int, d: int, off: float
) -> None:
    """Exact for d = 2 and for one pair; elsewhere an approximation, off by ``off`` or less."""
    angles = drawn[n, d].clamp(-1, 1).acos().amin(1)
    check(angles, random_directions.minimum_angle(d, [n]), off)


def check(values: Tensor, expected: diagnostics.Expected, off: float = 0.0) -> None:
    """Mean within 4 standard errors, spread within 8 %, and ``off`` besides."""
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(expected.mean, abs=4 * error + off * expected.mean)
    assert float(values.std()) == pytest.approx(expected.std, rel=0.08 + 3 * off)


def test_groups_are_drawn_apart() -> None:
    """Four groups of ten are 180 pairs, whose energies are averaged and whose smallest angle is taken."""
    assert random_directions.energy(1, 9, [10] * 4).std == pytest.approx(random_directions.energy(1, 9, [10]).std / 2)
    one_group, four = random_directions.minimum_angle(64, [10]), random_directions.minimum_angle(64, [10] * 4)
    assert four.mean < one_group.mean
    assert four == random_directions.minimum_angle(64, [2] * 180)
    assert random_directions.minimum_angle(2, [5, 5]).mean < random_directions.minimum_angle(2, [5]).mean


def test_one_dimension() -> None:
    """Two directions are equal or opposite; of three, two are equal."""
    assert random_directions.minimum_angle(1, [2]) == diagnostics.Expected(math.pi / 2, math.pi / 2)
    assert random_directions.minimum_angle(1, [3]) == diagnostics.Expected(0.0, 0.0)
    assert random_directions.share_above(0.2, 1, 4).mean == 0.5


@pytest.mark.parametrize(("n", "d", "best"), [(2, 1, 180), (3, 2, 120), (4, 2, 90), (5, 2, None), (4, 3, 109.4712206)])
def test_the_best_angle(n: int, d: int, best: float | None) -> None:
    found = random_directions.best_angle(n, d)
    assert (None if found is None else math.degrees(found)) == (None if best is None else pytest.approx(best))


# --- what is read of a model ----------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.attention = nn.MultiheadAttention(6, 2)
        self.norm = nn.LayerNorm(6)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12)
        self.up = nn.ConvTranspose2d(12, 5, 2)
        self.fc = nn.Linear(5, 7)
        self.one = nn.Linear(7, 1)


def test_a_module_is_read_as_the_regularizer_reads_it() -> None:
    model = Small()
    inspection = diagnostics.inspect(model)
    found = {layer.name: (layer.groups, layer.neurons, layer.dimension) for layer in inspection.layers}
    assert found == {
        "attention.in_proj_weight": (3, 6, 6),
        "attention.out_proj": (1, 6, 6),
        "grouped": (2, 6, 36),
        "up": (1, 5, 48),
        "fc": (1, 7, 5),
    }
    assert [each.name for each in inspection.skipped] == ["embed.weight", "depthwise.weight", "one.weight"]
    grouped = next(layer for layer in inspection.layers if layer.name == "grouped")
    halves = model.grouped.weight.detach().reshape(2, 6, 36)
    assert grouped.pairs == 30
    expected = sum(float(reference.mhe(half, 1.0)) for half in halves) / 2
    assert grouped.energies["E_1"] == pytest.approx(expected, rel=1e-6)
    angle = min(reference.pair_counts(half, 0.2)["angle"] for half in halves)
    assert math.radians(grouped.minimum_angle_deg) == pytest.approx(angle)


def test_a_state_dict_is_read_by_names_and_shapes() -> None:
    state = Small().state_dict() | {
        "table": torch.randn(4, 4),
        "packed.weight": torch.zeros(4, 4, dtype=torch.uint8),
        "steps": torch.tensor(3),
        "extra": {"not": "a tensor"},
    }
    inspection = diagnostics.inspect(state)
    found = {layer.name: (layer.groups, layer.neurons, layer.dimension) for layer in inspection.layers}
    assert found == {
        "embed": (1, 10, 6),
        "attention.in_proj_weight": (3, 6, 6),
        "attention.out_proj": (1, 6, 6),
        "grouped": (1, 12, 36),  # without the module its groups cannot be seen,
        "depthwise": (1, 12, 9),  # nor that every filter is a group of its own,
        "up": (1, 12, 20),  # nor that its neurons are the second dimension
        "fc": (1, 7, 5),
    }
    assert [(each.name, each.why) for each in inspection.skipped] == [
        ("one.weight", "fewer than two neurons to compare"),
        ("table", "its name does not end in 'weight'"),
        ("packed.weight", "torch.uint8 is not floating point"),
    ]


def test_a_state_dict_and_its_module_agree_where_names_say_it_all() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MultiheadAttention(8, 2), nn.Linear(8, 4))
    assert diagnostics.inspect(model).layers == diagnostics.inspect(model.state_dict()).layers


def test_a_checkpoint_is_searched_for_its_model() -> None:
    state, other = nn.Linear(3, 4).state_dict(), nn.Linear(2, 5).state_dict()
    adam = {"state": {0: {"exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"lr": 0.1}]}
    for checkpoint in ({"epoch": 3, "loss": torch.ones(()), "optimizer": adam, "model": state}, {"it": state}):
        (layer,) = diagnostics.inspect(checkpoint).layers
        assert (layer.name, layer.neurons) == ("weight", 4)
    both = diagnostics.inspect({"model": state, "ema": other, "epoch": 3})
    assert [(layer.name, layer.neurons) for layer in both.layers] == [("model", 4), ("ema", 5)]


def test_a_bare_layer_has_its_weights_name() -> None:
    assert diagnostics.inspect(nn.Linear(3, 4)).layers[0].name == "weight"


def test_parametrized_and_shared_weights_appear_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    nn.utils.parametrizations.weight_norm(model[0])
    inspection = diagnostics.inspect(model[:1])
    assert [layer.name for layer in inspection.layers] == ["0"]
    assert inspection.skipped == ()


def test_layers_are_chosen_by_pattern() -> None:
    inspection = diagnostics.inspect(Small(), layers=["attention.*", "fc"])
    assert [layer.name for layer in inspection.layers] == ["attention.in_proj_weight", "attention.out_proj", "fc"]
    with pytest.raises(ValueError, match=r"no layer matches 'fd'; the layers are: attention.in_proj_weight, .*, fc"):
        diagnostics.inspect(Small(), layers=["fc", "fd"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "found no weights to look at"),
        ({"a": torch.ones(3, 3)}, "found no weights to look at .a: its name does not end in 'weight'."),
        (nn.ReLU(), "found no weights to look at"),
    ],
)
def test_nothing_to_look_at_is_said(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diagnostics.inspect(model)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(TypeError, match="got Tensor"):
        diagnostics.inspect(torch.ones(3, 3))  # type: ignore[arg-type]
    for threshold in (1.0, -1.5, math.nan):
        with pytest.raises(ValueError, match=f"got {threshold}"):
            diagnostics.inspect(nn.Linear(3, 4), threshold=threshold)
    with pytest.raises(ValueError, match="got 1"):
        diagnostics.inspect(nn.Linear(3, 4), max_neurons=1)


def test_rows_without_a_direction_are_counted_and_left_out() -> None:
    weight = draw(12, 5)
    weight[2] = 0
    weight[4, 1], weight[5, 0] = math.nan, math.inf
    layer = one(weight)
    assert (layer.zero, layer.nonfinite, layer.pairs) == (1, 2, 36)
    rest = weight[[0, 1, 3, 6, 7, 8, 9, 10, 11]]
    assert layer.energies == pytest.approx(one(rest).energies)
    assert layer.random == one(rest).random


@pytest.mark.parametrize(
    "weight", [torch.zeros(4, 3), torch.eye(4)[:, :3].clone().tril(-3)], ids=["all", "all but one"]
)
def test_a_dead_layer_has_no_numbers_but_is_shown(weight: Tensor) -> None:
    inspection = diagnostics.inspect({"dead.weight": weight, "fc.weight": draw(4, 3)})
    dead = inspection.layers[0]
    assert (dead.zero, dead.pairs) == (int((weight == 0).all(1).sum()), 0)
    assert math.isnan(dead.minimum_angle_deg)
    assert not dead.more_correlated
    assert inspection.worst()[-1] is dead
    plain = json.loads(json.dumps(inspection.as_dict(), allow_nan=False))["layers"][0]
    assert plain["minimum_angle_deg"] is plain["energies"]["E_0"] is plain["random"]["share_above"]["mean"] is None
    assert "dead" in str(inspection)


def test_large_layers_are_sampled_where_asked_for() -> None:
    weight = draw(200, 8)
    weight[3] = 0
    state = {"large.weight": weight, "small.weight": draw(20, 8, 1)}
    full, sample = diagnostics.inspect(state), diagnostics.inspect(state, max_neurons=50)
    assert sample.layers == diagnostics.inspect(state, max_neurons=50).layers
    large, small = sample.layers
    assert small == full.layers[1]
    assert (large.neurons, large.sampled, large.pairs, large.zero) == (200, 50, 1225, 1)
    assert full.layers[0].sampled is None
    assert large.minimum_angle_deg >= full.layers[0].minimum_angle_deg
    assert large.random == one(draw(50, 8)).random
    assert "50/200" in str(sample)
    assert "large (50 of 200)" in str(sample)


def test_looking_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 40), nn.Linear(40, 5))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    diagnostics.inspect(model, max_neurons=10)
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, before, model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())


# --- what is made of it ---------------------------------------------------------------------------------------------


def test_the_most_correlated_come_first() -> None:
    close = draw(30, 40)
    close[1] = close[0] + 0.3 * close[2]
    state = {
        "plain.weight": draw(30, 40),
        "shifted.weight": draw(30, 40) + 0.4,
        "more.weight": draw(30, 40) + 0.6,
        "pair.weight": close,
    }
    inspection = diagnostics.inspect(state)
    assert [layer.name for layer in inspection.layers] == ["plain", "shifted", "more", "pair"]
    assert [layer.name for layer in inspection.worst(3)] == ["more", "shifted", "pair"]
    assert [layer.more_correlated for layer in inspection.layers] == [False, True, True, False]
    assert [layer.closer for layer in inspection.layers] == [False, False, True, True]
    assert inspection.as_dict(2)["worst"] == ["more", "shifted"]


def test_random_layers_are_seldom_called_correlated() -> None:
    inspection = diagnostics.inspect({f"{seed}.weight": draw(40, 30, seed) for seed in range(100)})
    assert sum(layer.more_correlated for layer in inspection.layers) <= 3
    assert sum(layer.closer for layer in inspection.layers) <= 5


def test_it_prints_as_a_table() -> None:
    state = {f"encoder.layers.{k}.attention.output.projection.weight": draw(30, 40, k) for k in range(3)}
    state |= {"none.weight": torch.zeros(3, 3), "flat.weight": draw(4, 2), "same.weight": torch.ones(5, 9)}
    inspection = diagnostics.inspect(state)
    text = str(inspection)
    assert text == repr(inspection)
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[4].startswith("same ")
    assert "Near-duplicates (another neuron within 1 degree): 5, in same (5)." in text
    assert "Zero neurons: 3, in none (3)." in text
    assert "∞" in text
    for k in range(3):
        assert f"encoder.layers.{k}.attention." in text  # a long name goes on in the next line
    assert text.count("\noutput.projection") == 3


def test_json_gives_back_every_number() -> None:
    state = {"a.weight": draw(30, 4), "b.weight": draw(8, 2), "table": torch.ones(2, 2)}
    inspection = diagnostics.inspect(state, threshold=0.3)
    data = json.loads(json.dumps(inspection.as_dict(), allow_nan=False))
    assert data["threshold"] == 0.3
    assert data["complete"] is True
    assert data["skipped"] == [{"name": "table", "shape": [2, 2], "why": "its name does not end in 'weight'"}]
    for layer, plain in zip(inspection.layers, data["layers"], strict=True):
        for key in ("name", "groups", "neurons", "pairs", "pairs_above", "share_above", "near_duplicates", "zero"):
            assert plain[key] == getattr(layer, key)
        assert plain["energies"] == layer.energies
        for name, expected in layer.random.energies.items():
            numbers = [None if math.isinf(x) else x for x in (expected.mean, expected.std)]
            assert list(plain["random"]["energies"][name].values()) == numbers
        low = round((plain["histogram"]["low"] + 1) / plain["histogram"]["width"])
        counts = plain["histogram"]["counts"]
        assert tuple(counts) == layer.histogram[low : low + len(counts)]
        assert sum(counts) == layer.pairs


def test_ctrl_c_keeps_what_is_finished() -> None:
    seen: list[diagnostics.Progress] = []

    def stop(now: diagnostics.Progress) -> None:
        seen.append(now)
        if now.layer == "large":
            raise KeyboardInterrupt

    state = {"large.weight": draw(90, 9), "small.weight": draw(5, 5), "table": torch.ones(2, 2)}
    with pytest.raises(diagnostics.Interrupted) as caught:
        diagnostics.inspect(state, progress=stop)
    found = caught.value.inspection
    assert [layer.name for layer in found.layers] == ["small"]  # the cheap ones come first
    assert not found.complete
    assert [each.name for each in found.skipped] == ["table", "large"]
    assert "interrupted" in str(found)


def test_progress_goes_from_nothing_to_all() -> None:
    seen: list[float] = []
    diagnostics.inspect(Small(), progress=lambda now: seen.append(now.share))
    assert seen[0] == 0.0
    assert seen[-1] == pytest.approx(1.0)
    assert seen == sorted(seen)


def test_printing_needs_the_core_only() -> None:
    blocked = ("rich", "plotly", "safetensors", "lightning", "jsonargparse", "matplotlib", "sklearn")
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "import onsphere as osp\nfrom torch import nn\nprint(osp.diagnostics.inspect(nn.Linear(3, 4)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("Most correlated layers first\n")
