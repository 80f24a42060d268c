"""The attacks equal literal formulas and foolbox, keep to their bounds, and leave the model as it was."""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import onsphere as osp
import reference_attacks as reference
from onsphere import attacks, data, train
from onsphere.attacks.evaluation import chosen
from onsphere.report import attacks as report_attacks
from onsphere.report.__main__ import main as report_main
from onsphere.train import Recipe

EPS, STEP = 8 / 255, 2 / 255
EVERY = {"fgsm": attacks.fgsm, "bim": partial(attacks.bim, steps=3), "deepfool": attacks.deepfool}


@pytest.fixture(params=EVERY, ids=str)
def attack(request: pytest.FixtureRequest) -> Any:
    return EVERY[request.param]


def network(seed: int = 0, classes: int = 7) -> nn.Sequential:
    """A small convolutional network for images of 3 x 8 x 8."""
    torch.manual_seed(seed)
    body = (nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(72, classes)).eval()


def with_everything(seed: int = 0) -> nn.Sequential:
    """One with what behaves differently in training, part of it frozen in evaluation mode."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(216, 7)
    )
    model.train()
    model[1].eval()
    return model


def batch(count: int = 12, seed: int = 1, classes: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 8, 8, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)


def affine(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.weight.data, layer.bias.data = weight, torch.zeros_like(weight[:, 0]) if bias is None else bias
    return layer


class TestLiteralFormulas:
    """One image at a time in numpy, with derivatives written out by hand."""

    net = reference.Network(pixels=12, hidden=9, classes=6)
    model = nn.Sequential(
        affine(torch.tensor(net.A), torch.tensor(net.a)), nn.Tanh(), affine(torch.tensor(net.B), torch.tensor(net.b))
    )
    rng = np.random.default_rng(3)
    images, labels = rng.uniform(-1, 2, (20, 12)), rng.integers(6, size=20)

    def one_by_one(self, attack: Callable[..., np.ndarray], *labels: Any, **settings: Any) -> np.ndarray:
        rows = zip(self.images, *labels, strict=True)
        return np.stack([attack(self.net, *row, **settings, low=-1, high=2) for row in rows])

    def test_fgsm(self) -> None:
        expected = self.one_by_one(reference.fgsm, self.labels, eps=0.1)
        found = attacks.fgsm(self.model, *map(torch.tensor, (self.images, self.labels)), 0.1, bounds=(-1, 2))
        np.testing.assert_allclose(found, expected, atol=1e-12)

    def test_bim(self) -> None:
        expected = self.one_by_one(reference.bim, self.labels, eps=0.1, step=0.03, steps=7)
        found = attacks.bim(self.model, *map(torch.tensor, (self.images, self.labels)), 0.1, 0.03, 7, bounds=(-1, 2))
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert not np.allclose(expected, self.one_by_one(reference.fgsm, self.labels, eps=0.1))

    @pytest.mark.parametrize("norm", ["l2", "linf"])
    @pytest.mark.parametrize("steps", [1, 50])
    def test_deepfool(self, norm: Any, steps: int) -> None:
        expected = self.one_by_one(reference.deepfool, steps=steps, overshoot=0.1, norm=norm)
        images = torch.tensor(self.images)
        found = attacks.deepfool(self.model, images, norm=norm, steps=steps, overshoot=0.1, bounds=(-1, 2))
        np.testing.assert_allclose(found, expected, atol=1e-9)
        fooled = self.model(found).argmax(1) != self.model(images).argmax(1)
        assert bool(fooled.all()) is (steps == 50)


class TestFoolbox:
    """An implementation of others, on a network of convolutions, in two units of pixels."""

    model, (images, labels) = network(), batch(32)

    def scaled(self, bounds: tuple[float, float]) -> tuple[nn.Module, Tensor]:
        low, high = bounds
        unit = attacks.Normalized(self.model, low, high - low).eval()  # images of any bounds back to [0, 1]
        return unit, self.images * (high - low) + low

    @pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)], ids=str)
    def test_fgsm_and_bim(self, bounds: tuple[float, float]) -> None:
        model, images = self.scaled(bounds)
        theirs = foolbox.PyTorchModel(model, bounds)
        wrong = foolbox.criteria.Misclassification(self.labels)
        fgsm = foolbox.attacks.LinfFastGradientAttack().run(theirs, images, wrong, epsilon=EPS)
        torch.testing.assert_close(attacks.fgsm(model, images, self.labels, bounds=bounds), fgsm, rtol=0, atol=1e-6)
        bim = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP, steps=20, random_start=False)
        expected = bim.run(theirs, images, wrong, epsilon=EPS)
        torch.testing.assert_close(attacks.bim(model, images, self.labels, bounds=bounds), expected, rtol=0, atol=1e-6)
        assert (expected - fgsm).abs().max() > 0.01

    @pytest.mark.parametrize("norm", ["l2", "linf"])
    @pytest.mark.parametrize("candidates", [10, 3])
    def test_deepfool(self, norm: Any, candidates: int) -> None:
        theirs = foolbox.PyTorchModel(self.model, (0, 1))
        kind = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}[norm]
        classes = self.model(self.images).argmax(1)
        expected = kind(candidates=candidates).run(theirs, self.images, foolbox.criteria.Misclassification(classes))
        found = attacks.deepfool(self.model, self.images, norm=norm, candidates=candidates)
        for order in (2, torch.inf):
            lengths = [(each - self.images).flatten(1).norm(order, dim=1) for each in (found, expected)]
            torch.testing.assert_close(*lengths, rtol=1e-4, atol=1e-6)
        # Images that are in another class than their label already stay as they are.
        given = foolbox.criteria.Misclassification(self.labels)
        expected = kind(candidates=candidates).run(theirs, self.images, given)
        found = attacks.deepfool(self.model, self.images, self.labels, norm=norm, candidates=candidates)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        same = (found == self.images).flatten(1).all(1)
        assert torch.equal(same, classes != self.labels)
        assert 0 < same.sum() < len(same)


class TestBounds:
    @settings(max_examples=40)
    @given(
        seed=st.integers(0, 1000),
        eps=st.floats(0, 1),
        step=st.floats(0, 1),
        steps=st.integers(1, 4),
        low=st.floats(-2, 0),
        width=st.floats(1, 3),
    )
    def test_no_pixel_leaves_them(
        self, seed: int, eps: float, step: float, steps: int, low: float, width: float
    ) -> None:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        images = (torch.rand(3, 5) * width + low).clamp(low, low + width)
        labels, bounds = torch.tensor([0, 1, 2]), (low, low + width)
        found = {
            "fgsm": attacks.fgsm(model, images, labels, eps, bounds=bounds),
            "bim": attacks.bim(model, images, labels, eps, step, steps, bounds=bounds),
        }
        for changed in found.values():
            assert (changed - images).abs().max() <= eps * (1 + 1e-6) + 1e-6
        found["deepfool"] = attacks.deepfool(model, images, bounds=bounds, steps=steps)
        for changed in found.values():
            assert changed.min() >= low - 1e-6
            assert changed.max() <= low + width + 1e-6
            assert changed.isfinite().all()

    def test_without_room_nothing_changes(self) -> None:
        model, (images, labels) = network(), batch()
        assert torch.equal(attacks.fgsm(model, images, labels, 0.0), images)
        assert torch.equal(attacks.bim(model, images, labels, 0.0), images)
        assert torch.equal(attacks.bim(model, images, labels, step=0.0), images)

    def test_one_number_a_channel(self) -> None:
        model, (images, labels) = network(), batch()
        eps = torch.tensor([0.0, 0.02, 0.2]).view(3, 1, 1)
        for changed in (attacks.fgsm(model, images, labels, eps), attacks.bim(model, images, labels, eps, eps / 2, 4)):
            most = (changed - images).abs().amax((0, 2, 3))
            torch.testing.assert_close(most, eps.flatten(), rtol=0, atol=1e-6)
        high = torch.tensor([1.0, 1.0, 1.1]).view(3, 1, 1)
        changed = attacks.fgsm(model, images, labels, 0.2, bounds=(0.0, high))
        assert changed.amax((0, 2, 3)).tolist() == pytest.approx([1.0, 1.0, 1.1])

    def test_the_iterative_one_stops_at_eps(self) -> None:
        model = affine(torch.eye(2))
        changed = attacks.bim(model, torch.tensor([[0.5, 0.5]]), torch.tensor([0]), 0.1, 0.03, 20)
        torch.testing.assert_close(changed, torch.tensor([[0.4, 0.6]]))

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"eps": -0.1}, "eps=-0.1: expected at least 0"),
            ({"eps": math.nan}, "eps=nan: expected at least 0"),
            ({"eps": 8}, r"eps=8 is more than there is between bounds=\(0, 1\): expected the units of the images"),
            ({"eps": torch.ones(3) / 9}, r"eps of shape \(3,\) .* one a channel as \(3, 1, 1\)"),
            ({"eps": torch.ones(2, 1, 1) / 9}, r"eps of shape \(2, 1, 1\)"),
            ({"eps": torch.ones(5, 3, 1, 1, 1) / 9}, "eps of shape"),
            ({"step": -1.0}, "step=-1.0: expected at least 0"),
            ({"steps": 0}, "steps=0: expected a whole number, at least 1"),
            ({"steps": 2.5}, "steps=2.5: expected a whole number"),
            ({"bounds": (1.0, 0.0)}, r"bounds=\(1.0, 0.0\): expected the least value of a pixel below the largest"),
            ({"bounds": (0.5, 1.0)}, r"images go from \S+ to 0\.\S+, outside of bounds=\(0.5, 1.0\)"),
            ({"bounds": (0.0,)}, "expected the least and the largest"),
            ({"objective": partial(F.cross_entropy, reduction="none")}, r"the shape \(12,\): expected one number"),
        ],
    )
    def test_what_is_refused(self, words: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            attacks.bim(network(), *batch(), **words)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"candidates": 1}, "candidates=1: expected a whole number, at least 2"),
            ({"overshoot": -0.1}, "overshoot=-0.1: expected at least 0"),
            ({"norm": "l1"}, "norm='l1': expected 'l2' or 'linf'"),
            ({"labels": torch.zeros(3)}, r"labels of shape \(3,\) for 12 images"),
            ({"bounds": (0.5, 1.0)}, "outside of bounds"),
        ],
    )
    def test_what_deepfool_refuses(self, words: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            attacks.deepfool(network(), batch()[0], **words)

    def test_images_and_models_that_cannot_be_attacked(self, attack: Any) -> None:
        model, (images, labels) = network(), batch()
        with pytest.raises(ValueError, match=r"type torch.uint8: expected floating point.*divide"):
            attack(model, (images * 255).to(torch.uint8), labels)
        with pytest.raises(ValueError, match="labels of shape"):
            attack(model, images, labels[:3])
        with pytest.raises(ValueError, match="expected a batch"):
            attack(model, images[0, 0, 0], labels)
        images[0, 0, 0, 0] = math.nan
        with pytest.raises(ValueError, match="outside of bounds"):
            attack(model, images, labels)

        class Rounded(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return images.flatten(1)[:, :7].round().detach()

        with pytest.raises(ValueError, match="no gradient with respect to the images"):
            attack(Rounded(), batch()[0], labels)

    def test_deepfool_needs_classes(self) -> None:
        with pytest.raises(ValueError, match=r"gives \(12, 1\): expected logits"):
            attacks.deepfool(network(classes=1), batch()[0])

    def test_no_images(self, attack: Any) -> None:
        images, labels = batch(0)
        assert attack(network(), images, labels).shape == (0, 3, 8, 8)

    def test_rounding_is_no_reason_to_complain(self) -> None:
        images, labels = batch()
        images.view(-1)[:2] = torch.tensor([-1e-7, 1 + 1e-7])
        changed = attacks.fgsm(network(), images, labels, 0.0)
        assert (changed.min(), changed.max()) == (0, 1)


class TestTheModelStaysAsItWas:
    def test_modes_buffers_and_gradients(self, attack: Any) -> None:
        model, (images, labels) = with_everything(), batch()
        F.cross_entropy(model(images), labels).backward()
        model[0].bias.requires_grad_(False)
        state = copy.deepcopy(model.state_dict())
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        learned = [parameter.requires_grad for parameter in model.parameters()]
        modes = [module.training for module in model.modules()]
        images.requires_grad_()
        changed = attack(model, images, labels)
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
        assert all(torch.equal(a, b.grad) for a, b in zip(gradients, model.parameters(), strict=True))
        assert [module.training for module in model.modules()] == modes
        assert [parameter.requires_grad for parameter in model.parameters()] == learned
        assert images.grad is None
        assert not changed.requires_grad
        # Examples are those of evaluation mode.
        assert torch.equal(attack(model.eval(), images, labels), changed)

    def test_modes_come_back_after_an_error(self, attack: Any) -> None:
        model = with_everything()
        modes = [module.training for module in model.modules()]
        with pytest.raises(RuntimeError):
            attack(model, torch.rand(2, 4, 8, 8), torch.zeros(2, dtype=torch.int64))
        assert [module.training for module in model.modules()] == modes
        assert all(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
    def test_where_the_caller_wants_no_gradients(self, attack: Any, context: Any) -> None:
        model, (images, labels) = network(), batch()
        expected = attack(model, images, labels)
        with context():
            found = attack(model, images * 1, labels * 1)  # in inference mode these are inference tensors
            assert not torch.is_grad_enabled()
        assert torch.equal(found, expected)

    def test_frozen_parameters_do_not_matter(self, attack: Any) -> None:
        model, (images, labels) = network(), batch()
        expected = attack(model, images, labels)
        model.requires_grad_(False)
        torch.testing.assert_close(attack(model, images, labels), expected)

    def test_the_gradient_of_no_parameter_is_computed(self, attack: Any) -> None:
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
                return 2 * images * weight

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
                assert ctx.needs_input_grad == (True, False)
                return 2 * gradient, None

        class Doubled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight, self.head = nn.Parameter(torch.ones(())), network()

            def forward(self, images: Tensor) -> Tensor:
                return self.head(Double.apply(images, self.weight))

        images, labels = batch()
        assert not torch.equal(attack(Doubled(), images, labels), images)

    def test_compiled_models(self, attack: Any) -> None:
        model, (images, labels) = network(), batch(4)
        expected = attack(model, images, labels)
        torch.testing.assert_close(attack(torch.compile(model, backend="aot_eager"), images, labels), expected)

    def test_autocast(self, attack: Any) -> None:
        model, (images, labels) = network(), batch()
        with torch.autocast("cpu", torch.bfloat16):
            found = attack(model, images, labels)
        assert found.dtype == torch.float32
        agree = (torch.sign(found - images) == torch.sign(attack(model, images, labels) - images)).float().mean()
        assert agree > 0.8

    def test_half_precision(self, attack: Any) -> None:
        model, (images, labels) = network().bfloat16(), batch()
        found = attack(model, images.bfloat16(), labels)
        assert found.dtype == torch.bfloat16
        assert found.isfinite().all()
        assert 0 <= found.min() < found.max() <= 1
        assert not torch.equal(found, images.bfloat16())

    def test_the_memory_format_stays(self) -> None:
        model, (images, labels) = network(), batch()
        found = attacks.bim(model, images.contiguous(memory_format=torch.channels_last), labels, steps=2)
        assert found.is_contiguous(memory_format=torch.channels_last)


class Square(nn.Module):
    """Logits through a root: at 0 the gradient is infinite, times zero NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.head = affine(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head((images * images).sqrt())


class TestGradientsOfNoUse:
    images, labels = torch.tensor([[0.0, 0.3], [0.6, 0.2]]), torch.tensor([1, 0])

    def test_are_reported_and_change_nothing(self, attack: Any) -> None:
        with pytest.warns(RuntimeWarning, match="1 of 2 images have a gradient that is NaN"):
            changed = attack(Square(), self.images, self.labels)
        assert changed.isfinite().all()
        assert changed[0, 0] == 0
        assert (changed[1] != self.images[1]).all()

    def test_a_model_whose_classes_are_all_equal(self, attack: Any) -> None:
        model = affine(torch.zeros(3, 2))
        assert torch.equal(attack(model, self.images, self.labels), self.images)

    def test_logits_of_nan_are_no_class(self) -> None:
        class Broken(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return torch.full((len(images), 3), math.nan)

        assert attacks.robustness(Broken(), (self.images, torch.tensor([0, 0])), None) == 0


class TestDeepFool:
    @settings(max_examples=30)
    @given(seed=st.integers(0, 10_000))
    def test_reaches_the_nearest_plane_of_an_affine_classifier(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        model = affine(*(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 6), (4,))))
        images = torch.rand(5, 6, generator=generator, dtype=torch.float64)
        logits, weight = model(images).detach(), model.weight.detach()
        for norm, order, dual in (("l2", 2, 2), ("linf", torch.inf, 1)):
            own = logits.argmax(1)
            gaps = logits.max(1, keepdim=True).values - logits
            lengths = torch.stack([(weight - weight[k]).norm(dual, dim=1) for k in own])
            nearest = (gaps / lengths).masked_fill(F.one_hot(own, 4).bool(), torch.inf).amin(1)
            changed = attacks.deepfool(model, images, norm=norm, bounds=(-1e6, 1e6))
            found = (changed - images).norm(order, dim=1)
            # One step: the distance and the 1e-4 of the authors' code, two per cent beyond.
            torch.testing.assert_close(found, 1.02 * (nearest + 1e-4), rtol=1e-5, atol=1e-8)
            assert (model(changed).argmax(1) != own).all()

    def test_a_batch_is_as_one_image_after_the_other(self) -> None:
        model, (images, _) = network().double(), batch()
        images = images.double()
        alone = torch.cat([attacks.deepfool(model, image[None]) for image in images])
        torch.testing.assert_close(attacks.deepfool(model, images), alone)

    def test_the_smaller_change_is_the_one_that_was_asked_for(self) -> None:
        model, (images, _) = network(), batch(40)
        l2, linf = (attacks.strengths(model, (images, torch.zeros(40)), partial(attacks.deepfool, norm=norm))
                    for norm in ("l2", "linf"))  # fmt: skip
        assert l2.median("l2") < linf.median("l2")
        assert linf.median("linf") < l2.median("linf")

    def test_what_cannot_be_fooled_is_said(self) -> None:
        # Within the bounds the first class always wins.
        model = affine(torch.tensor([[1.0, 0.0], [0.5, 0.0]]), torch.tensor([1.0, 0.0]))
        found = attacks.strengths(model, (torch.tensor([[0.5, 0.5]]), torch.tensor([0])))
        assert not found.fooled.any()
        assert found.sorted("l2").isinf().all()
        assert found.l2 == pytest.approx(0.5)  # as far as the bound


class TestNormalized:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)

    def test_is_the_model_behind_its_normalisation(self) -> None:
        model, (images, _) = network(), batch()
        by_hand = (images - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)
        normalized = attacks.Normalized(model, self.mean, self.std)
        assert torch.equal(normalized(images), model(by_hand))
        assert list(normalized.state_dict()) == [f"model.{name}" for name in model.state_dict()]
        assert normalized.double()(images.double()).dtype == torch.float64
        one = attacks.Normalized(nn.Identity(), 0.5, 0.0)  # a channel of one value only, as in training
        torch.testing.assert_close(one(torch.full((2, 3), 0.6)), torch.full((2, 3), 25.5))

    def test_an_attack_in_pixels_is_one_in_normalised_units(self) -> None:
        model, (images, labels) = network().double(), batch()
        images = images.double()
        mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (self.mean, self.std))
        normalized = attacks.Normalized(model, self.mean, self.std)
        pixels = attacks.bim(normalized, images, labels, steps=5)
        bounds = ((0 - mean) / std, (1 - mean) / std)
        units = attacks.bim(model, (images - mean) / std, labels, EPS / std, STEP / std, 5, bounds=bounds)
        torch.testing.assert_close((pixels - mean) / std, units)

    def test_what_is_refused(self) -> None:
        with pytest.raises(ValueError, match="expected none below 0"):
            attacks.Normalized(nn.Identity(), 0.5, -1.0)
        with pytest.raises(ValueError, match="mean=nan"):
            attacks.Normalized(nn.Identity(), math.nan, 1.0)
        normalized = attacks.Normalized(nn.Identity(), self.mean, self.std)
        with pytest.raises(ValueError, match="mean and std have 3 channels"):
            normalized(torch.rand(2, 1, 4, 4))
        with pytest.raises(ValueError, match="pixels of 0 to 255 divided by 255"):
            normalized(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))


class TestRobustness:
    model = affine(torch.eye(2))
    # How far each is from the line between the classes: 0.05, 0.01, 0.2 (wrong), 0.005.
    images = torch.tensor([[0.6, 0.5], [0.5, 0.52], [0.7, 0.3], [0.51, 0.5]])
    labels = torch.tensor([0, 1, 1, 0])

    def test_white_box(self) -> None:
        def accuracy(eps: float) -> float:
            return attacks.robustness(self.model, (self.images, self.labels), partial(attacks.fgsm, eps=eps))

        assert attacks.robustness(self.model, (self.images, self.labels), None) == 75
        assert [accuracy(eps) for eps in (0.001, 0.007, 0.02, 0.1)] == [75, 50, 25, 0]

    def test_black_box(self) -> None:
        # To the source only the second number matters, so that the examples move the images along that one.
        source = affine(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
        fgsm = partial(attacks.fgsm, eps=0.015)
        given = (self.images, self.labels)
        moved = self.images + 0.015 * torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, -1.0], [0.0, 1.0]])
        assert torch.allclose(fgsm(source, *given), moved)
        expected = 100 * (self.model(moved).argmax(1) == self.labels).float().mean().item()
        found = attacks.robustness(self.model, given, fgsm, source)
        assert found == expected == 50
        assert attacks.robustness(self.model, given, fgsm) == 25  # the white box knows better

    def test_sets_pairs_and_loaders(self) -> None:
        model, digits = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data.digits(20).test
        given = attacks.Normalized(model, 0.5, 0.25)
        pair = (digits.images, digits.labels)
        loader = DataLoader(TensorDataset(digits.images / 255, digits.labels), batch_size=100)
        done: list[int] = []
        accuracy = attacks.robustness(given, digits, attacks.fgsm, batch_size=300, progress=done.append)
        assert done == [300, 600, 797]
        assert 0 < accuracy < attacks.robustness(given, digits, None)
        assert attacks.robustness(given, pair, attacks.fgsm) == accuracy
        assert attacks.robustness(given, loader, attacks.fgsm) == accuracy
        with pytest.raises(ValueError, match="batch_size=3 for data that come in batches"):
            attacks.robustness(given, loader, None, batch_size=3)

    def test_limits(self) -> None:
        done: list[int] = []
        seen: list[Tensor] = []

        def look(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            seen.append(images[:, 0])
            return images

        images, labels = torch.arange(20.0).view(10, 2) / 20, torch.zeros(10, dtype=torch.int64)
        attacks.robustness(self.model, (images, labels), look, limit=4, batch_size=3, progress=done.append)
        assert done == [3, 4]
        torch.testing.assert_close(torch.cat(seen), images[chosen(10, 4), 0])
        # A set that goes through its classes in turn must not be left with one of them.
        classes = torch.arange(5000) % 10
        assert torch.bincount(classes[chosen(5000, 500)], minlength=10).min() > 25
        seen.clear()
        loader = DataLoader(TensorDataset(images, labels), batch_size=3)
        attacks.robustness(self.model, loader, look, limit=4)
        torch.testing.assert_close(torch.cat(seen), images[:4, 0])
        attacks.robustness(self.model, (images, labels), None, limit=99)
        for words, said in (({"limit": 0}, "limit=0"), ({"batch_size": -1}, "batch_size=-1")):
            with pytest.raises(ValueError, match=f"{said}: expected a whole number, at least 1"):
                attacks.robustness(self.model, (images, labels), None, **words)
        with pytest.raises(ValueError, match="there are no images"):
            attacks.robustness(self.model, (images[:0], labels[:0]), None)
        with pytest.raises(ValueError, match="10 images and 3 labels"):
            attacks.robustness(self.model, (images, labels[:3]), None)

    def test_strengths(self) -> None:
        found = attacks.strengths(self.model, (self.images, self.labels), batch_size=3)
        assert found.fooled.all()
        by_hand = torch.tensor([0.1, 0.02, 0.4, 0.01]).double() / math.sqrt(2)  # wrong or right does not matter
        torch.testing.assert_close(found.l2, 1.02 * (by_hand + 1e-4), rtol=1e-3, atol=0)
        torch.testing.assert_close(found.linf, found.l2 / math.sqrt(2), rtol=1e-3, atol=0)
        assert torch.equal(found.sorted("linf"), found.linf.sort().values)
        assert found.median("l2") == found.l2.sort().values[1]
        with pytest.raises(ValueError, match="norm='l1'"):
            found.sorted("l1")
        fixed = attacks.strengths(self.model, (self.images, self.labels), partial(attacks.fgsm, eps=0.03))
        assert fixed.fooled.tolist() == [False, True, False, True]
        torch.testing.assert_close(fixed.linf, torch.full((4,), 0.03).double())
        with pytest.raises(ValueError, match="there are no images"):
            attacks.strengths(self.model, [])


class TestAdversarialTraining:
    def test_the_objective_is_the_formula(self) -> None:
        mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
        model, (images, labels) = network().double(), batch()
        images = images.double()
        normalized = (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        adversarial = attacks.fgsm(attacks.Normalized(model, mean, std), images, labels, 0.1)
        again = (adversarial - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        both = [F.cross_entropy(model(x), labels) for x in (normalized, again)]
        for weight in (0.0, 0.3, 1.0):
            trained = attacks.AdversarialTraining(model, 0.1, weight, mean, std)
            expected = (1 - weight) * both[0] + weight * both[1]
            torch.testing.assert_close(trained(normalized, labels), expected)
        assert both[1] > both[0] + 0.1
        assert torch.equal(trained(normalized), model(normalized))

    def test_the_gradient_takes_the_examples_as_given(self) -> None:
        model, (images, labels) = network(), batch()
        trained = attacks.AdversarialTraining(model)
        trained(images, labels).backward()
        found = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        examples = attacks.fgsm(model, images, labels)
        (F.cross_entropy(model(images), labels) / 2 + F.cross_entropy(model(examples), labels) / 2).backward()
        for one, parameter in zip(found, model.parameters(), strict=True):
            torch.testing.assert_close(one, parameter.grad)

    def test_examples_are_made_in_evaluation_mode(self) -> None:
        model, (images, labels) = with_everything(), batch()
        trained = attacks.AdversarialTraining(model)
        before = copy.deepcopy(model.state_dict())
        examples = trained.examples(images, labels)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert model.training
        assert not model[1].training
        assert torch.equal(examples, attacks.fgsm(model.eval(), images, labels))

    def test_pixels_that_augmentation_put_outside(self) -> None:
        images, labels = batch()
        images = 4 * images - 2
        examples = attacks.AdversarialTraining(network(), 0.1).examples(images, labels)
        assert (examples - images).abs().max() <= 0.1 + 1e-6
        assert (examples[images > 1] <= images[images > 1]).all()
        assert (examples[images < 0] >= images[images < 0]).all()

    def test_state_dict_and_copies(self) -> None:
        trained = attacks.AdversarialTraining(network(), mean=0.5, std=0.25)
        assert all(name.startswith("model.") for name in trained.state_dict())
        assert "eps=0.03" in repr(copy.deepcopy(trained))

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ({"eps": 8}, "eps=8: expected a number from 0 to 1"),
            ({"weight": 1.5}, "weight=1.5: expected a number from 0 to 1"),
            ({"std": -1.0}, "std=-1.0: expected none below 0"),
        ],
    )
    def test_what_is_refused(self, words: dict[str, float], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            attacks.AdversarialTraining(network(), **words)

    def test_a_recipe_trains_it(self) -> None:
        digits = data.digits(200)

        def recipe(adversarial: bool) -> Recipe:
            def model() -> nn.Module:
                bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
                if not adversarial:
                    return bare
                return attacks.AdversarialTraining(bare, 0.15, mean=digits.mean, std=digits.std)

            def attacked(model: nn.Module) -> dict[str, float]:
                fgsm = partial(attacks.fgsm, eps=0.15)
                normalized = attacks.Normalized(model, digits.mean, digits.std)
                return {"fgsm": attacks.robustness(normalized, digits.test, fgsm, limit=200)}

            return Recipe(
                name="digits",
                row="adversarial" if adversarial else "natural",
                source="-",
                model=model,
                data=lambda: digits,
                optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
                epochs=10,
                batch_size=50,
                objective=None if adversarial else F.cross_entropy,
                evaluate=attacked,
            )

        result = train.run([recipe(False), recipe(True)], seeds=[1], accelerator="cpu", measure=False)
        natural, adversarial = (row.seeds[0].last for row in result.rows)
        assert natural["top1"] > 85
        assert adversarial["top1"] > 80
        assert natural["fgsm"] + 15 < adversarial["fgsm"] < adversarial["top1"]


def test_operators_of_spheres_can_be_attacked(attack: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(osp.SphereConv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), osp.SphereLinear(384, 7))
    images, _ = batch()
    images[0] = 0  # no direction
    labels = model(images).argmax(1)
    found = attack(model, images, labels)
    assert found.isfinite().all()
    before, after = (F.cross_entropy(model(x), labels) for x in (images, found))
    assert after > before + 0.01
    assert (found[1:] != images[1:]).flatten(1).any(1).all()


def test_the_example_hardens_a_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).resolve().parent.parent / "examples" / "adversarial_training.py"
    spec = importlib.util.spec_from_file_location("example_adversarial_training", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["adversarial_training.py", "--epochs", "2"])
    module.main()
    natural, adversarial, black = capsys.readouterr().out.splitlines()
    fgsm = [float(re.search(r"FGSM (\S+)%", line)[1]) for line in (natural, adversarial)]
    assert fgsm[0] + 5 < fgsm[1] < 100
    assert float(re.search(r"BIM (\S+)%", natural)[1]) < float(re.search(r"BIM (\S+)%", black)[1])


class TestPictures:
    rows = ({"row": "a", "deepfool": {"l2": [0.1, 0.2, None], "linf": [0.01, 0.02, None]}},
            {"row": "b", "deepfool": {"l2": [0.3, 0.4, float("inf")], "linf": []}})  # fmt: skip

    @staticmethod
    def image(seed: int, channels: int = 3) -> list[Any]:
        return np.random.default_rng(seed).integers(0, 256, (8, 8, channels)).tolist()

    def test_examples_and_strengths(self, tmp_path: Path) -> None:
        pictures = []
        for channels, kind in ((1, "png"), (3, "svg")):
            image = self.image(0, channels)
            attacked = [{"name": "FGSM", "class": "dog", "pixels": self.image(1, channels)},
                        {"name": "BIM", "class": "cat", "pixels": image}]  # fmt: skip
            found = {"rows": self.rows, "examples": [{"class": "cat", "pixels": image, "attacked": attacked}]}
            for _ in range(2):
                report_attacks.write_attack(found, tmp_path / f"both.{kind}")
                pictures.append((tmp_path / f"both.{kind}").read_bytes())
        assert (pictures[0], pictures[2]) == (pictures[1], pictures[3])
        report_attacks.write_attack({"rows": self.rows}, tmp_path / "curves.png")
        report_attacks.write_attack({**found, "rows": [{"row": "a"}]}, tmp_path / "examples.png")
        assert len({Image.open(tmp_path / f"{name}.png").size for name in ("both", "curves", "examples")}) == 3

    def test_the_curves_of_a_result(self, tmp_path: Path) -> None:
        rows = [
            {"row": row["row"], "seeds": [{"seed": 1, "final": {}, "last": {}, "end": {"deepfool": row["deepfool"]}}]}
            for row in self.rows
        ]
        (tmp_path / "result.json").write_text(json.dumps({"schema": 1, "name": "x", "rows": rows}))
        assert report_main(["--strengths", str(tmp_path), str(tmp_path / "result.svg")]) == 0
        report_attacks.write_attack({"rows": self.rows}, tmp_path / "attack.svg")
        assert (tmp_path / "result.svg").read_bytes() == (tmp_path / "attack.svg").read_bytes()

    def test_what_is_drawn(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        from matplotlib.axes import Axes

        drawn: list[tuple[list[float], list[float]]] = []
        plot = Axes.plot
        monkeypatch.setattr(
            Axes, "plot", lambda self, x, y, **more: drawn.append((list(x), y)) or plot(self, x, y, **more)
        )
        report_attacks.write_attack({"rows": self.rows}, tmp_path / "curves.svg")
        assert [x for x, _ in drawn] == [[1, 2], [1, 2], [1, 2], []]
        assert drawn[0][1] == pytest.approx([25.5, 51.0])  # of 255, and nothing where no image was fooled
        assert drawn[1][1] == pytest.approx([76.5, 102.0])

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="neither examples nor strengths"):
            report_attacks.write_attack({"rows": [{"row": "a", "deepfool": {}}]}, tmp_path / "x.png")
        with pytest.raises(ValueError, match="x holds no strengths of attacks"):
            report_attacks.write_strengths({"name": "x", "rows": []}, tmp_path / "x.png")
        with pytest.raises(ValueError, match=r"ends in \.svg or \.png"):
            report_attacks.write_attack({"rows": self.rows}, tmp_path / "x.pdf")
