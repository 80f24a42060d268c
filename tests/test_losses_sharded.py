"""The head over several processes: the same numbers as with one, whatever their number."""

import json
from pathlib import Path

import pytest
import torch

from launching import forked
from onsphere.losses import AngularSoftmax, ShardedAngularSoftmax
from onsphere.margins import ArcFace, CosFace


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    script = Path(__file__).parent / "sharded_head.py"
    lines = forked(script, str(tmp_path_factory.mktemp("sharded"))).strip().splitlines()
    return {int(processes): result for line in lines for processes, result in json.loads(line).items()}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_values_and_gradients_are_those_of_one_process(found, processes):
    assert found[processes]["worst"] < 1e-12


@pytest.mark.parametrize("processes", [2, 4])
def test_a_sampled_step_over_processes_is_that_of_a_head_with_the_sampled_classes(found, processes):
    assert found[processes]["worst sampled"] < 1e-12


@pytest.mark.parametrize("processes", [2, 4])
def test_training_is_that_of_one_process(found, processes):
    assert found[processes]["from scratch"] == pytest.approx(found[1]["from scratch"], rel=1e-9)


def test_a_checkpoint_goes_on_with_another_number_of_processes(found):
    assert found[4]["continued"] == pytest.approx(found[1]["continued"], rel=1e-9)
    assert found[1]["continued"][0] < found[1]["from scratch"][-1]


@pytest.mark.parametrize("processes", [2, 4])
def test_every_process_says_what_is_wrong(found, processes):
    label, measure = found[processes]["errors"]
    assert label == "labels[0] is 11: expected 0 to 10"
    assert "is shared out over processes: expected weight.full_tensor()" in measure


@pytest.mark.parametrize("processes", [2, 4])
def test_a_tenth_of_the_classes_is_looked_at(found, processes):
    assert found[processes]["sampled"] == 40


@pytest.mark.parametrize("processes", [2, 4])
def test_sampling_leaves_the_generators_of_all_processes_alike(found, processes):
    assert found[processes]["alike"]


@pytest.mark.parametrize("processes", [2, 4])
def test_a_copy_is_a_head_of_its_own(found, processes):
    before, copied, changed = found[processes]["copied"]
    assert copied == before
    assert changed != before


@pytest.mark.parametrize("processes", [2, 4])
def test_a_measure_sees_the_weights_of_all_processes(found, processes):
    worst, refused = found[processes]["plus"]
    assert worst < 1e-12
    assert "expected a measure without labels" in refused


def test_without_a_process_group_it_is_the_plain_head():
    torch.manual_seed(0)
    head = ShardedAngularSoftmax(4, 10, ArcFace(0.5), bias=True)
    plain = AngularSoftmax(4, 10, ArcFace(0.5), bias=True)
    plain.load_state_dict(head.state_dict())
    features, labels = torch.randn(3, 4), torch.tensor([0, 9, 3])
    torch.testing.assert_close(head(features, labels), plain(features, labels))
    torch.testing.assert_close(head.logits(features), plain.logits(features).detach())


def test_sampling_keeps_the_classes_of_the_batch_and_is_exact_in_evaluation():
    torch.manual_seed(0)
    head = ShardedAngularSoftmax(4, 50, CosFace(), sample_rate=0.1)
    features, labels = torch.randn(9, 4), torch.arange(0, 45, 5)
    head(features, labels).backward()
    touched = (head.weight.grad.abs().sum(1) > 0).nonzero().flatten()
    torch.testing.assert_close(touched, labels)  # nine classes in the batch, where the rate says five
    plain = AngularSoftmax(4, 50, CosFace())
    plain.load_state_dict(head.state_dict())
    assert head(features, labels) < plain(features, labels)
    torch.testing.assert_close(head.eval()(features, labels), plain(features, labels))


def test_a_sampled_step_is_that_of_a_head_with_the_classes_of_the_sample(monkeypatch):
    torch.manual_seed(0)
    settings = {"margin": ArcFace(0.3), "scale": 8.0, "bias": True, "dtype": torch.float64}
    class_weight = torch.linspace(0.5, 2, 20, dtype=torch.float64)
    head = ShardedAngularSoftmax(4, 20, sample_rate=0.3, class_weight=class_weight, **settings)
    torch.nn.init.normal_(head.bias)
    sample = torch.tensor([1, 4, 7, 11, 12, 19])
    monkeypatch.setattr(head, "_sample", lambda rows, weight: sample)
    plain = AngularSoftmax(4, 6, class_weight=class_weight[sample], **settings)
    plain.weight.data, plain.bias.data = head.weight.data[sample].clone(), head.bias.data[sample].clone()
    features, labels = torch.randn(3, 4, dtype=torch.float64), torch.tensor([4, 3, 0])
    loss, expected = head(features, sample[labels]), plain(features, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for mine, other in ((head.weight, plain.weight), (head.bias, plain.bias)):
        torch.testing.assert_close(mine.grad, torch.zeros_like(mine).index_copy(0, sample, other.grad))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sample_rate": 0.0}, "sample_rate=0.0"),
        ({"sample_rate": 0.5, "label_smoothing": 0.1}, "expected one of them only"),
        ({"reduction": "none"}, "expected 'mean' or 'sum'"),
        ({"class_weight": torch.ones(3)}, r"class_weight of shape \(3,\)"),
    ],
)
def test_mistakes_are_explained(settings, words):
    with pytest.raises(ValueError, match=words):
        ShardedAngularSoftmax(4, 10, **settings)


def test_labels_of_other_shards_are_no_labels_of_users():
    head = ShardedAngularSoftmax(4, 10)
    with pytest.raises(ValueError, match=r"labels\[1\] is -1"):
        head(torch.ones(2, 4), torch.tensor([1, -1]))
