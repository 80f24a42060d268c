"""The head over several processes: the same numbers as with one, whatever their number."""

import json
from pathlib import Path

import pytest
import torch

from launching import launched
from onsphere.losses import AngularSoftmax, ShardedAngularSoftmax
from onsphere.margins import ArcFace, CosFace


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    script = Path(__file__).parent / "sharded_head.py"
    lines = launched(str(script), str(tmp_path_factory.mktemp("sharded"))).strip().splitlines()
    return {int(processes): result for line in lines for processes, result in json.loads(line).items()}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_values_and_gradients_are_those_of_one_process(found, processes):
    assert found[processes]["worst"] < 1e-12


@pytest.mark.parametrize("processes", [2, 4])
def test_training_is_that_of_one_process(found, processes):
    assert found[processes]["from scratch"] == pytest.approx(found[1]["from scratch"], rel=1e-9)


def test_a_checkpoint_goes_on_with_another_number_of_processes(found):
    assert found[4]["continued"] == pytest.approx(found[1]["continued"], rel=1e-9)
    assert found[1]["continued"][0] < found[1]["from scratch"][-1]


@pytest.mark.parametrize("processes", [2, 4])
def test_every_process_says_what_is_wrong(found, processes):
    assert found[processes]["errors"] == ["labels[0] is 11: expected 0 to 10"]


@pytest.mark.parametrize("processes", [2, 4])
def test_a_tenth_of_the_classes_is_looked_at(found, processes):
    assert found[processes]["sampled"] == 40


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
