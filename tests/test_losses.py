"""The angular head against the literal one, against torch's cross-entropy, and at the points where it could break."""

import copy
import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import onsphere as osp
import reference_margins as literal
from onsphere.angular import Cosine, Linear, Sigmoid
from onsphere.losses import AngularSoftmax, ArcFacePlus, CosFacePlus, Plus, SphereFacePlus, angular_softmax, kernel
from onsphere.margins import Annealed, ArcFace, Combined, CosFace, LSoftmax, SphereFace

B, C, D = 5, 7, 4
LABELS = torch.tensor([0, 3, 3, 6, 2])
COSINE_CASES = {
    "none": (None, None),
    "sphereface": (SphereFace(2.5), lambda theta: literal.folded(theta, 2.5)),
    "cosface": (CosFace(0.35), lambda theta: torch.cos(theta) - 0.35),
    "arcface": (ArcFace(0.5), lambda theta: literal.arcface(theta, 0.5)),
    "combined": (Combined(1.2, 0.3, 0.2), lambda theta: literal.combined(theta, 1.2, 0.3, 0.2)),
}


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setitem(kernel._TILE, "cpu", 12)


def double(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def compare(margin, psi, angular, g, scale, normalize, with_bias, smoothing, weighted):
    features, weight = double(B, D), double(C, D, seed=2)
    bias = double(C, seed=3) if with_bias else None
    class_weight = torch.linspace(0.2, 2, C, dtype=torch.float64) if weighted else None
    settings = {"scale": scale, "normalize_weight": normalize, "bias": bias, "label_smoothing": smoothing}
    settings["class_weight"] = class_weight
    ours = angular_softmax(features, weight, LABELS, margin, angular=angular, reduction="none", **settings)
    theirs = literal.head(features, weight, LABELS, psi, g, **settings)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    inputs = [features, weight] + ([bias] if with_bias else [])
    up = torch.linspace(0.5, 1.5, B, dtype=torch.float64)
    for mine, other in zip(
        torch.autograd.grad((ours * up).sum(), inputs), torch.autograd.grad((theirs * up).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", COSINE_CASES)
def test_the_head_is_its_formula(name):
    margin, psi = COSINE_CASES[name]
    for rest in itertools.product((5.0, "feature_norm"), (True, False), (False, True), (0.0, 0.1), (False, True)):
        compare(margin, psi, Cosine(), torch.cos, *rest)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("m", [None, 1, 3])
@pytest.mark.parametrize(
    ("angular", "g"), [(Linear(), literal.linear_g), (Sigmoid(0.3), lambda theta: literal.sigmoid_g(theta, 0.3))]
)
def test_other_angular_activations_are_their_formulas(angular, g, m):
    margin, psi = (None, None) if m is None else (SphereFace(m), lambda theta: literal.folded(theta, m, g))
    for rest in itertools.product((5.0, "feature_norm"), (True, False), (False, True), (0.0, 0.1)):
        compare(margin, psi, angular, g, *rest, True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_plain_softmax_is_torchs_cross_entropy(reduction, smoothing, weighted):
    features, weight, bias = double(B, D), double(C, D, seed=2), double(C, seed=3)
    class_weight = torch.linspace(0.2, 2, C, dtype=torch.float64) if weighted else None
    settings = {"reduction": reduction, "label_smoothing": smoothing}
    ours = angular_softmax(
        features, weight, LABELS, scale="feature_norm", normalize_weight=False, bias=bias, class_weight=class_weight,
        **settings,
    )  # fmt: skip
    theirs = F.cross_entropy(F.linear(features, weight, bias), LABELS, class_weight, **settings)
    torch.testing.assert_close(ours, theirs)
    grads = (torch.autograd.grad(loss.sum(), (features, weight, bias)) for loss in (ours, theirs))
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("margin", [None, SphereFace(4), CosFace(), ArcFace(), ArcFace(easy_margin=True)], ids=str)
@pytest.mark.parametrize("scale", [4.0, "feature_norm"])
def test_gradcheck(margin, scale):
    def loss(features, weight):
        return angular_softmax(features, weight, LABELS, margin, scale=scale)

    assert torch.autograd.gradcheck(loss, (double(B, D), double(C, D, seed=2)))


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_only_directions_count(seed, factor):
    features, weight = double(B, D, seed=seed).detach(), double(C, D, seed=seed + 1).detach()
    rotation = torch.linalg.qr(double(D, D, seed=seed + 2).detach())[0]
    order = torch.randperm(C, generator=torch.Generator().manual_seed(seed))
    loss = angular_softmax(features, weight, LABELS, ArcFace(0.5))
    scales = torch.linspace(0.5, 2, C, dtype=torch.float64)[:, None]
    same = [
        angular_softmax(features * factor, weight * scales, LABELS, ArcFace(0.5)),
        angular_softmax(features @ rotation, weight @ rotation, LABELS, ArcFace(0.5)),
        angular_softmax(features, weight[order], order.argsort()[LABELS], ArcFace(0.5)),
    ]
    for other in same:
        torch.testing.assert_close(other, loss, rtol=1e-9, atol=1e-9)


MARGINS = [None, SphereFace(4), CosFace(0.35), ArcFace(0.5), Combined(1.1, 0.2, 0.1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [64.0, "feature_norm"])
@pytest.mark.parametrize("margin", MARGINS, ids=str)
def test_equal_opposite_and_zero_vectors_have_finite_gradients(margin, scale, dtype):
    weight = torch.eye(4, dtype=dtype).requires_grad_()
    with torch.no_grad():
        weight[3] = 0
    features = torch.stack([torch.eye(4)[0], -torch.eye(4)[1], torch.zeros(4), torch.ones(4)]).to(dtype)
    features.requires_grad_()
    loss = angular_softmax(features, weight, torch.tensor([0, 1, 2, 3]), margin, scale=scale)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert weight.grad.isfinite().all()
    assert features.grad.dtype == dtype
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("angular", [Cosine(), Linear()], ids=str)
@pytest.mark.parametrize("margin", [None, SphereFace(2), CosFace(0.35)], ids=str)
def test_zero_features_move_nothing(margin, angular):
    features, weight = torch.zeros(B, D).requires_grad_(), double(C, D).detach().float().requires_grad_()
    angular_softmax(features, weight, LABELS, margin, angular=angular, scale=8.0).backward()
    assert not features.grad.any()
    assert not weight.grad.any()


@pytest.mark.parametrize("angular", [Cosine(), Linear()], ids=str)
@pytest.mark.parametrize("normalize", [True, False])
def test_tiny_weights_have_the_gradient_of_their_formula(angular, normalize):
    """The square of the inverse of their norm is beyond float32."""
    features, weight = double(B, D).detach(), 1e-20 * double(C, D, seed=2).detach()
    settings = {"angular": angular, "scale": "feature_norm", "normalize_weight": normalize}
    grads = []
    for dtype in (torch.float64, torch.float32):
        given = weight.to(dtype, copy=True).requires_grad_()
        angular_softmax(features.to(dtype), given, LABELS, SphereFace(2), **settings).backward()
        grads.append(given.grad.double())
    exact, found = grads
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3 * exact.abs().max().item())


@pytest.mark.parametrize("theta", [1e-2, 1e-4, 1e-6])
def test_the_target_angle_is_exact_in_float32(theta):
    """acos of a float32 cosine sees nothing below 3e-4, and the slope of ArcFace in the cosine is infinite at 0."""
    features = torch.tensor([[math.cos(theta), math.sin(theta)]], requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = angular_softmax(features, weight, torch.tensor([0]), ArcFace(1.5), scale=1.0)
    loss.backward()
    exact = features.detach().double().requires_grad_()
    angle = torch.atan2(exact[0, 1], exact[0, 0])
    logits = torch.stack([torch.cos(angle + 1.5), -exact[0, 0] / exact[0].norm()])
    F.cross_entropy(logits[None], torch.tensor([0])).backward()
    torch.testing.assert_close(features.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)


def test_features_on_the_target_are_pushed_with_a_bounded_force():
    weight = torch.eye(3, dtype=torch.float64)
    for theta in (1e-3, 1e-6, 1e-9):
        features = torch.tensor([[math.cos(theta), math.sin(theta), 0]], dtype=torch.float64, requires_grad=True)
        form = kernel.Form(ArcFace(0.5), Cosine(), 64.0, True, 0.0, 3)
        pull = kernel._targets(features.detach(), weight, torch.tensor([0]), form).to_feature.norm()
        assert pull.item() == pytest.approx(64 * math.sin(0.5 + theta), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    features, weight = double(B, D).detach().to(dtype), double(C, D, seed=2).detach().float()
    expected = angular_softmax(features.float(), weight, LABELS, ArcFace(0.5))
    head = AngularSoftmax(D, C)
    head.weight.data = weight
    with torch.autocast("cpu", dtype=dtype):
        loss = angular_softmax(features, weight, LABELS, ArcFace(0.5))
        logits = head.logits(features)
    assert loss.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, head.logits(features))


def test_a_scaled_half_precision_step_is_finite():
    torch.manual_seed(0)
    body, head = nn.Linear(8, D), AngularSoftmax(D, C, ArcFace(0.5))
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = head.weight.detach().clone()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = head(body(torch.randn(B, 8)), LABELS)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**10  # no step was skipped
    assert head.weight.isfinite().all()
    assert not torch.equal(head.weight, before)


def test_compiled_and_exported():
    torch.manual_seed(0)
    head = AngularSoftmax(D, C, Annealed(SphereFace(4)), scale="feature_norm")
    features = torch.randn(B, D)
    plain = copy.deepcopy(head)
    with warnings.catch_warnings(action="ignore"):
        compiled = torch.compile(head, backend="eager")
        torch.testing.assert_close(compiled(features, LABELS), plain(features, LABELS))

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, features):
            return self.head.logits(features)

    exported = torch.export.export(Logits(), (features,)).module()
    torch.testing.assert_close(exported(features), head.logits(features))


@pytest.mark.parametrize("angular", [Cosine(), Linear(), Sigmoid(0.5)], ids=str)
@pytest.mark.parametrize("scale", [8.0, "feature_norm"])
@pytest.mark.parametrize("normalize", [True, False])
def test_logits_are_those_of_the_loss_without_margin(angular, scale, normalize):
    head = AngularSoftmax(
        D, C, scale=scale, normalize_weight=normalize, angular=angular, bias=True, dtype=torch.float64
    )
    features = double(B, D)
    torch.testing.assert_close(F.cross_entropy(head.logits(features), LABELS), head(features, LABELS))
    assert head.logits(features.reshape(B, 1, D)).shape == (B, 1, C)


def test_margins_ask_for_more():
    head = AngularSoftmax(D, C, CosFace(0.35), scale=8.0, dtype=torch.float64)
    features = double(B, D)
    assert head(features, LABELS) > F.cross_entropy(head.logits(features), LABELS) + 1


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_agrees_with_pytorch_metric_learning():
    from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, LargeMarginSoftmaxLoss, SphereFaceLoss

    torch.manual_seed(0)
    features = torch.randn(B, 16)
    pairs = [
        (AngularSoftmax(16, C, ArcFace(0.5), scale=64.0), ArcFaceLoss(C, 16, margin=math.degrees(0.5), scale=64)),
        (AngularSoftmax(16, C, CosFace(0.35), scale=64.0), CosFaceLoss(C, 16, margin=0.35, scale=64)),
        (AngularSoftmax(16, C, SphereFace(4), scale="feature_norm"), SphereFaceLoss(C, 16, margin=4, scale=1)),
        (
            AngularSoftmax(16, C, LSoftmax(3), scale="feature_norm", normalize_weight=False),
            LargeMarginSoftmaxLoss(C, 16, margin=3, scale=1),
        ),
    ]
    for ours, theirs in pairs:
        ours.weight.data = theirs.W.detach().T.clone()
        mine, other = (features.clone().requires_grad_() for _ in range(2))
        loss, expected = ours(mine, LABELS), theirs(other, LABELS)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(ours.weight.grad, theirs.W.grad.T, rtol=1e-3, atol=1e-3)


def test_one_array_of_logits_and_no_copy_of_the_weights():
    from onsphere.train.cost import peak_bytes

    torch.manual_seed(0)
    features, labels = torch.randn(64, 32), torch.randint(20_000, (64,))
    head = AngularSoftmax(32, 20_000, ArcFace(0.5))
    linear = nn.Linear(32, 20_000, bias=False)

    def ours():
        head.weight.grad = None
        head(features, labels).backward()

    def theirs():
        linear.weight.grad = None
        F.cross_entropy(linear(features), labels).backward()

    ours()
    theirs()
    assert peak_bytes(torch.device("cpu"), ours) <= 1.1 * peak_bytes(torch.device("cpu"), theirs)


@pytest.mark.parametrize("angular", [Cosine(), Sigmoid(0.3)], ids=str)
def test_a_validation_loss_may_be_taken_in_inference_mode(angular):
    head = AngularSoftmax(D, C, Annealed(SphereFace(4)), scale="feature_norm", angular=angular).eval()
    features = torch.randn(B, D)
    expected = head(features, LABELS)
    with torch.inference_mode():
        torch.testing.assert_close(head(features.clone(), LABELS), expected.detach())


def test_the_count_of_annealing_moves_in_training_only():
    head = AngularSoftmax(D, C, Annealed(SphereFace(4)), scale="feature_norm", dtype=torch.float64)
    features = double(B, D)
    first = head(features, LABELS)
    assert head.margin.iteration.item() == 1
    assert head(features, LABELS) > first  # the margin comes in
    head.eval()
    head(features, LABELS)
    head.train()
    with torch.no_grad():
        head(features, LABELS)
    assert head.margin.iteration.item() == 2
    other = AngularSoftmax(D, C, Annealed(SphereFace(4)), scale="feature_norm", dtype=torch.float64)
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(features, LABELS), head(features, LABELS), rtol=0, atol=0)


def test_class_weights_move_with_the_head_and_are_not_saved():
    head = AngularSoftmax(D, C, ArcFace(), class_weight=torch.ones(C))
    assert list(head.state_dict()) == ["weight"]
    assert head.double().class_weight.dtype == torch.float64


def test_initial_weights_are_small_and_normal():
    torch.manual_seed(0)
    weight = AngularSoftmax(100, 200).weight
    assert weight.shape == (200, 100)
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not AngularSoftmax(4, 5, bias=True).bias.any()


def test_plus_adds_a_measure_of_the_class_weights():
    features = torch.randn(B, D)
    arcface = ArcFacePlus(D, C)
    expected = arcface.head(features, LABELS) + 0.03 * osp.functional.mma(arcface.weight)
    torch.testing.assert_close(arcface(features, LABELS), expected)
    for build in (SphereFacePlus, CosFacePlus):
        objective = build(D, C, coefficient=0.5).eval()
        energy = osp.functional.mhe(objective.weight, 2.0, labels=LABELS)
        torch.testing.assert_close(objective(features, LABELS), objective.head(features, LABELS) + 0.5 * energy)
        torch.testing.assert_close(objective.logits(features), objective.head.logits(features))
    with pytest.raises(ValueError, match="coefficient=-1"):
        Plus(AngularSoftmax(D, C), osp.MMA(), -1)
    with pytest.raises(TypeError, match=r"MMA\(\), not MMA"):
        Plus(AngularSoftmax(D, C), osp.MMA, 1.0)


def test_plus_forms_hand_their_settings_to_the_head():
    arcface, cosface = ArcFacePlus(D, C, 0.3, scale=8.0).head, CosFacePlus(D, C, 0.2, scale=9.0).head
    assert (arcface.margin, arcface.scale) == (ArcFace(0.3), 8.0)
    assert (cosface.margin, cosface.scale) == (CosFace(0.2), 9.0)
    sphereface = SphereFacePlus(D, C, 3.0, s=1.0)
    assert (sphereface.head.margin.margin, sphereface.head.scale) == (SphereFace(3.0), "feature_norm")
    assert sphereface.measure.s == 1.0


def test_a_head_is_a_layer_for_regularizers_and_inspection():
    model = nn.Sequential(nn.Linear(3, D), AngularSoftmax(D, C, ArcFace()))
    regularizer = osp.Regularizer(model, osp.MHE(data_dependent=True), 1.0, osp.where.output)
    expected = osp.functional.mhe(model[1].weight, 2.0, labels=LABELS)
    torch.testing.assert_close(regularizer(LABELS), expected)
    assert [layer.name for layer in osp.diagnostics.inspect(model).layers] == ["0", "1"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda head: head(torch.zeros(2, D), torch.tensor([0, C])), r"labels\[1\] is 7: expected 0 to 6"),
        (lambda head: head(torch.zeros(2, D), torch.tensor([-1, 0])), r"labels\[0\] is -1: expected 0 to 6"),
        (lambda head: head(torch.zeros(2, D), torch.zeros(2)), r"labels of shape \(2,\) and type torch.float32"),
        (lambda head: head(torch.zeros(2, D), torch.zeros(3, dtype=torch.int64)), r"expected \(2,\), torch.int64"),
        (lambda head: head(torch.zeros(2, 5), LABELS[:2]), r"features of shape \(2, 5\).*expected \(B, 4\)"),
        (lambda head: head(torch.zeros(2, D, dtype=torch.int64), LABELS[:2]), "floating point"),
        (lambda head: head.logits(torch.zeros(2, 5)), r"features of shape \(2, 5\).*expected \(\.\.\., 4\)"),
        (lambda head: head.logits(torch.zeros(2, D, dtype=torch.int64)), "floating point"),
        (lambda head: head(torch.zeros(0, D), LABELS[:0]), "the batch is empty"),
    ],
)
def test_wrong_batches_are_explained(call, words):
    with pytest.raises(ValueError, match=words):
        call(AngularSoftmax(D, C))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"margin": LSoftmax(2), "scale": "feature_norm"}, "expected normalize_weight=False"),
        ({"margin": Annealed(LSoftmax(2))}, "keeps the norms"),
        ({"margin": ArcFace}, "expected a margin such as"),
        ({"margin": 0.5}, "margin=0.5"),
        ({"scale": 0}, "scale=0: expected a number above 0"),
        ({"scale": "norm"}, "scale='norm'"),
        ({"reduction": "batch"}, "reduction='batch'"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"angular": Linear}, "expected an angular activation"),
        ({"angular": Linear(), "margin": ArcFace()}, "expected Cosine"),
        ({"class_weight": torch.ones(3)}, r"class_weight of shape \(3,\)"),
        ({"class_weight": -torch.ones(C)}, "of at least 0"),
        ({"in_features": 0}, "in_features=0"),
        ({"num_classes": 1}, "num_classes=1"),
    ],
)
def test_wrong_heads_are_explained(settings, words):
    with pytest.raises(ValueError, match=words):
        AngularSoftmax(**{"in_features": D, "num_classes": C, **settings})


def test_the_head_shows_what_it_is():
    text = repr(AngularSoftmax(D, C, Annealed(LSoftmax(2)), scale="feature_norm", normalize_weight=False, bias=True))
    for words in ("scale='feature_norm'", "normalize_weight=False", "bias=True", "LSoftmax(m=2)", "gamma=0.12"):
        assert words in text
    assert "margin=ArcFace(m=0.5" in repr(AngularSoftmax(D, C, ArcFace()))
