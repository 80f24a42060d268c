"""Graphs: files are read as they were published, the network is equation E.24, and Table 7.11 trains."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor, nn

from onsphere import models, orthogonal
from onsphere.data import Graph, TensorData, Tensors, block_graph, planetoid
from onsphere.data.graphs import both_directions
from onsphere.recipes import RECIPES, compare
from onsphere.recipes.node_classification import CORA, first_layer_decay
from onsphere.recipes.opt.graphs import citations
from onsphere.recipes.regularization import regularization
from onsphere.train import Recipe, run

CORA_ENTRY = RECIPES["thesis-table7.11-cora"]

# ------------------------------------------------------------------------------------------------ examples of any kind


def test_tensors_have_the_face_of_images() -> None:
    values = torch.arange(24.0).reshape(4, 2, 3)
    some = Tensors(values, torch.tensor([0, 1, 0, 1]))
    assert (len(some), some.shape, repr(some)) == (4, (2, 3), "Tensors(4 of 2 x 3)")
    assert torch.equal(some.take(torch.tensor([2, 0])), values[[2, 0]])
    chosen = some.select(torch.tensor([3, 1])).to("cpu")
    assert torch.equal(chosen.values, values[[3, 1]])
    assert chosen.labels.tolist() == [1, 1]
    assert repr(Tensors(torch.arange(3), torch.zeros(3, dtype=torch.int64))) == "Tensors(3 of one number)"


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int64), "type torch.int32: expected"),
        (torch.tensor(1.0), torch.zeros(1, dtype=torch.int64), r"shape \(\).*expected \(N, \.\.\.\)"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), r"labels of shape \(3,\).*expected \(2,\)"),
        (torch.zeros(2, 3), torch.zeros(2), "type torch.float32: expected"),
    ],
    ids=["integers", "scalar", "count", "type"],
)
def test_wrong_tensors_are_named(values: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tensors(values, labels)


def test_a_data_set_of_tensors_is_checked_as_one_of_images() -> None:
    two, other = (Tensors(torch.zeros(2, size), torch.tensor([0, 2])) for size in (3, 4))
    with pytest.raises(ValueError, match="the train set's example 1 has label 2: expected 0 to 1"):
        TensorData("x", two, two, 2, ("a", "b"))
    with pytest.raises(ValueError, match=r"train is Tensors\(2 of 3\) but test is Tensors\(2 of 4\)"):
        TensorData("x", two, other, 3, ("a", "b", "c"))


def test_the_network_gets_tensors_as_they_are_and_every_one_once_an_epoch() -> None:
    values = torch.randn(10, 3, dtype=torch.float64)
    seen: list[Tensor] = []

    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(3, 2, dtype=torch.float64)

        def forward(self, batch: Tensor) -> Tensor:
            seen.append(batch)
            logits: Tensor = self.classifier(batch)
            return logits

    examples = Tensors(values, torch.arange(10) % 2)
    source = TensorData("random", examples, examples, 2, ("a", "b"))
    recipe = Recipe(
        name="tensors",
        row="none",
        source="-",
        model=Recorder,
        data=lambda: source,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        epochs=1,
        batch_size=4,
        augment=lambda batch, generator: batch + 1,
    )
    run(recipe, seeds=[0], accelerator="cpu", measure=False, threads=1, precision="64-true")
    *steps, tested = seen
    trained = torch.cat(steps) - 1
    assert [len(step) for step in steps] == [4, 3, 3]
    assert torch.allclose(trained.sort(0).values, values.sort(0).values, atol=1e-15)
    assert not torch.equal(trained, values)
    assert torch.equal(tested, values)  # neither normalised nor augmented


# ------------------------------------------------------------------------------------------------ graphs and files


def parts(**others: Any) -> dict[str, Any]:
    """A graph of four nodes."""
    return {
        "name": "four",
        "features": torch.ones(4, 2),
        "edges": torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]),
        "labels": torch.tensor([0, 1, 0, 1]),
        "train": torch.tensor([0]),
        "validation": torch.tensor([], dtype=torch.int64),
        "test": torch.tensor([3, 1]),
        "classes": ("a", "b"),
    } | others


def test_the_examples_of_a_graph_are_the_numbers_of_its_nodes() -> None:
    graph = Graph(**parts())
    found = graph.data()
    assert found.test.values.tolist() == [3, 1]
    assert found.test.labels.tolist() == [1, 1]
    assert (found.num_classes, found.classes, found.name) == (2, ("a", "b"), "four")


def test_features_become_distributions_and_zeros_stay() -> None:
    graph = Graph(**parts(features=torch.tensor([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0], [0.0, 5.0]])))
    assert graph.distributions().tolist() == [[0.25, 0.75], [0.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"features": torch.ones(4, 2).double()}, "features of shape .*float64: expected"),
        ({"labels": torch.tensor([0, 1])}, r"labels of shape \(2,\).*expected \(4,\)"),
        ({"labels": torch.tensor([0, 1, 0, 2])}, "labels from 0 to 2: expected 0 to 1"),
        ({"edges": torch.zeros(3, 2)}, r"edges of shape \(3, 2\)"),
        ({"edges": torch.tensor([[0, 4], [4, 0]])}, "edges from 0 to 4: expected 0 to 3"),
        ({"edges": torch.tensor([[0], [1]])}, "every edge once in each of its two directions"),
        ({"edges": torch.tensor([[0, 1, 0], [1, 0, 1]])}, "every edge once in each of its two directions"),
        ({"edges": torch.tensor([[2], [2]])}, "expected none from a node to itself"),
        ({"train": torch.tensor([0, 3])}, "node 3 is 2 times in train, validation and test"),
        ({"test": torch.tensor([-1])}, "test from -1 to -1: expected 0 to 3"),
        ({"test": torch.tensor([1.0])}, r"test of shape \(1,\) and type torch.float32"),
    ],
    ids=["float64", "few-labels", "label", "shape", "node", "one-way", "twice", "loop", "split", "negative", "type"],
)
def test_wrong_graphs_are_named(other: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"four: .*{message}|four: {message}"):
        Graph(**parts(**other))


def test_a_block_graph_joins_nodes_of_a_class_more_often() -> None:
    graph = block_graph(4, nodes=200, within=0.2, between=0.02, seed=3)
    start, end = graph.edges
    same = graph.labels[start] == graph.labels[end]
    pairs = 4 * 50 * 49 / (200 * 199)  # share of the ordered pairs that are of one class
    expected = 0.2 * pairs / (0.2 * pairs + 0.02 * (1 - pairs))
    assert same.float().mean().item() == pytest.approx(expected, abs=0.04)
    own = graph.labels[:, None] == torch.arange(24) % 4
    assert graph.features[own].mean().item() == pytest.approx(0.3, abs=0.04)
    assert graph.features[~own].mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(block_graph(4, seed=3).edges, block_graph(4, seed=3).edges)


@pytest.mark.parametrize("setting", [{"num_classes": 0}, {"within": 1.5}, {"between": -0.1}, {"nodes": 20}])
def test_values_of_a_block_graph_out_of_range_are_named(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value}: expected"):
        block_graph(**setting)


# A tiny CORA: 7 classes, two nodes to learn from, one more labelled one, 500 for validation, and test nodes 503 to 506
# of which 505 is missing from the files; their order is not that of their numbers.
LISTED = (504, 506, 503)


def words_of(node: int) -> np.ndarray:
    """Of a node: of 507, which the files leave out, none."""
    found = np.zeros(5, dtype=np.float32)
    if node != 505:
        found[[node % 5, node % 3]] = 1 + node % 2
    return found


def class_of(node: int) -> int:
    return node % 7


NEIGHBOURS = {node: [(node + 1) % 507, (node + 5) % 507] for node in range(507)} | {3: [3, 4, 4]}


def as_published(folder: Path, change: Callable[[str, bytes], bytes] = lambda part, content: content) -> Path:
    """The eight files, as Python 2 wrote them."""
    folder.mkdir(parents=True, exist_ok=True)
    one_hot = np.eye(7, dtype=np.int32)
    rows = {"x": range(2), "allx": range(503), "tx": LISTED}
    content: dict[str, object] = {
        name: scipy.sparse.csr_matrix(np.stack([words_of(node) for node in nodes])) for name, nodes in rows.items()
    }
    for name, nodes in (("y", range(2)), ("ally", range(503)), ("ty", LISTED)):
        content[name] = one_hot[[class_of(node) for node in nodes]]
    content["graph"] = defaultdict(list, NEIGHBOURS)
    for name, value in content.items():
        # Old names of the modules, which Python 2 wrote.
        written = pickle.dumps(value, protocol=2).replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
        written = written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (folder / f"ind.cora.{name}").write_bytes(change(name, written))
    (folder / "ind.cora.test.index").write_text("".join(f"{node}\n" for node in LISTED))
    return folder


def expected_edges() -> set[tuple[int, int]]:
    pairs = {(start, end) for start, ends in NEIGHBOURS.items() for end in ends if start != end}
    return pairs | {(end, start) for start, end in pairs}


@pytest.mark.parametrize("where", [".", "raw", "Cora/raw"])
def test_the_published_files_are_read_wherever_they_lie(tmp_path: Path, where: str) -> None:
    as_published(tmp_path / where)
    graph = planetoid("cora", tmp_path)
    assert graph.features.shape == (507, 5)
    for node in range(507):
        assert graph.features[node].tolist() == words_of(node).tolist(), node
        if node != 505:
            assert graph.labels[node] == class_of(node)
    assert graph.train.tolist() == [0, 1]
    assert graph.validation.tolist() == list(range(2, 502))
    assert graph.test.tolist() == sorted(LISTED)
    assert {(int(start), int(end)) for start, end in graph.edges.T} == expected_edges()
    assert len(graph.classes) == 7


def test_arrays_give_the_same_graph(tmp_path: Path) -> None:
    published = planetoid("cora", as_published(tmp_path / "old"))
    matrix = scipy.sparse.csr_matrix(published.features.numpy())
    np.savez(
        tmp_path / "cora.npz",
        x_data=matrix.data,
        x_indices=matrix.indices,
        x_indptr=matrix.indptr,
        x_shape=np.array(matrix.shape),
        y=published.labels.numpy().astype(np.int16),
        edges=published.edges[:, published.edges[0] < published.edges[1]].T.numpy(),
        train_idx=published.train.numpy(),
        val_idx=published.validation.numpy(),
        test_idx=published.test.numpy(),
    )
    graph = planetoid("cora", tmp_path)
    for part in ("features", "edges", "labels", "train", "validation", "test"):
        assert torch.equal(getattr(graph, part), getattr(published, part)), part


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "cora.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"cora\.npz'.*: expected a file of x_data, x_indices"):
        planetoid("cora", tmp_path)
    np.savez(tmp_path / "cora.npz", x_data=np.ones(3))
    with pytest.raises(ValueError, match="expected a file of x_data"):
        planetoid("cora", tmp_path)


class Evil:
    """A pickle that would make a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    evil = pickle.dumps(Evil(made), protocol=2)
    as_published(tmp_path, lambda part, content: evil if part == "graph" else content)
    with pytest.raises(ValueError, match=r"ind\.cora\.graph' cannot be read: it names .*, which is no part"):
        planetoid("cora", tmp_path)
    assert not made.exists()
    pickle.loads(evil)
    assert made.exists()


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("tx", b"", r"ind\.cora\.tx' cannot be read"),
        ("allx", pickle.dumps([1], protocol=2), "do not fit together"),
        ("graph", pickle.dumps([1], protocol=2), "do not fit together"),
        ("ty", pickle.dumps(np.eye(7)[:2], protocol=2), "do not fit together"),
    ],
    ids=["empty", "no-matrix", "no-dictionary", "too-few"],
)
def test_damaged_files_are_named(tmp_path: Path, part: str, content: bytes, message: str) -> None:
    as_published(tmp_path, lambda name, written: content if name == part else written)
    with pytest.raises(ValueError, match=message):
        planetoid("cora", tmp_path)


def test_a_missing_file_and_an_unknown_graph_are_named(tmp_path: Path) -> None:
    as_published(tmp_path)
    (tmp_path / "ind.cora.ally").unlink()
    with pytest.raises(FileNotFoundError, match=r"no ind\.cora\.ally in"):
        planetoid("cora", tmp_path)
    with pytest.raises(ValueError, match="name='reddit': expected cora, citeseer, pubmed"):
        planetoid("reddit", tmp_path)  # type: ignore[arg-type]


def test_a_download_is_kept_and_a_failed_one_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch_geometric
    import torch_geometric.data

    source, asked = as_published(tmp_path / "web"), []

    def download(url: str, folder: str, log: bool) -> None:
        asked.append(url)
        if fails and len(asked) == 3:
            raise OSError("no route to host")
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / url.rsplit("/", 1)[1]).write_bytes((source / url.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(torch_geometric, "get_home_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(torch_geometric.data, "download_url", download)
    fails = True
    with pytest.raises(ConnectionError, match=r"'cora' cannot be downloaded: no route to host; expected a connection"):
        planetoid("cora")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    fails = False
    first = planetoid("cora")
    asked.clear()
    assert torch.equal(planetoid("cora").edges, first.edges)
    assert asked == []  # it is there


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torch_geometric"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    graph = block_graph()
    for call in (lambda: planetoid("cora"), lambda: models.gcn(graph.features, graph.edges, 3)):
        with pytest.raises(
            ModuleNotFoundError, match=r"needs the package 'torch_geometric': pip install 'onsphere\[graph\]'"
        ):
            call()


# ------------------------------------------------------------------------------------------------ the network


def literal(graph: Graph, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Equation E.24 with dense matrices."""
    n = len(x)
    a = torch.eye(n, dtype=torch.float64)
    for start, end in graph.edges.T.tolist():
        a[start, end] += 1
    scale = torch.diag(a.sum(1) ** -0.5)
    normalized = scale @ a @ scale
    return normalized @ torch.relu(normalized @ x @ first.T) @ second.T


def test_the_network_is_equation_e_24_in_value_and_gradient() -> None:
    graph = block_graph(nodes=40, within=0.2)
    torch.manual_seed(0)
    model = models.gcn(graph.distributions().double(), graph.edges, 3, hidden=5).double().eval()
    weights = (model.hidden.lin.weight, model.classifier.lin.weight)  # type: ignore[union-attr]
    nodes = torch.tensor([7, 0, 39])
    expected = literal(graph, graph.distributions().double(), *weights)[nodes]  # type: ignore[arg-type]
    found = model(nodes)
    assert torch.allclose(found, expected, atol=1e-12)
    target = torch.randn(3, 3, dtype=torch.float64)
    gradients = [torch.autograd.grad((logits * target).sum(), weights) for logits in (found, expected)]  # type: ignore[arg-type]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_dropout_is_on_the_inputs_of_both_layers_in_training_only() -> None:
    graph = block_graph()
    torch.manual_seed(0)
    model = models.gcn(graph.features, graph.edges, 3, dropout=0.9)
    nodes = torch.arange(120)
    seen: list[Tensor] = []
    for layer in (model.hidden, model.classifier):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()
    assert torch.equal(model(nodes), model(nodes))
    whole = [one.to_dense() if one.is_sparse else one for one in seen[:2]]
    seen.clear()
    model.train()(nodes)
    for before, dropped in zip(whole[:1], seen[:1], strict=True):
        after = dropped.to_dense()
        kept = after != 0
        assert 0.05 < kept.sum() / (before != 0).sum() < 0.15
        assert torch.allclose(after[kept], 10 * before[kept])
    assert (seen[1] == 0).float().mean() > 0.88


def test_the_layers_are_torch_s_own_and_drawn_by_glorot_s_rule() -> None:
    graph = block_graph(nodes=60, features=300)
    torch.manual_seed(0)
    model = models.gcn(graph.features, graph.edges, 3, hidden=100, bias=True)
    assert list(model.state_dict()) == ["hidden.bias", "hidden.lin.weight", "classifier.bias", "classifier.lin.weight"]
    weight = model.hidden.lin.weight  # type: ignore[union-attr]
    assert isinstance(weight, Tensor)
    bound = (6 / 400) ** 0.5
    assert bound * 0.99 < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert model.hidden.bias.count_nonzero() == 0  # type: ignore[operator, union-attr]
    orthogonal.overparametrize(model, orthogonal.Cayley())
    assert list(orthogonal.matrices(model)) == ["hidden.lin"]  # the classifier stays plain


@pytest.mark.parametrize("setting", [{"hidden": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_sizes_of_the_network_out_of_range_are_named(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    graph = block_graph()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        models.gcn(graph.features, graph.edges, 3, **setting)


# ------------------------------------------------------------------------------------------------ Table 7.11


def test_the_rows_are_trained_as_the_thesis_says() -> None:
    none, cayley, descent = compare(CORA_ENTRY, dataset="noise")
    for recipe, paper in zip((none, cayley, descent), (81.3, 82.0, 82.3), strict=True):
        assert not recipe.paper  # of a made-up graph
        assert CORA_ENTRY(row=recipe.settings["row"]).paper == {"top1": paper}
        assert (recipe.epochs, recipe.batch_size) == (200, 140)
        model = recipe.model()
        assert isinstance(model, models.GCN)
        assert model.dropout == 0.5
        if recipe.prepare is not None:
            recipe.prepare(model)
        optimizer = recipe.optimizer(model.parameters())
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == {"none": [0.01], "cp": [0.01, 3e-5], "ogd": [0.5, 0.01]}[str(recipe.settings["row"])]
    assert none.regularizer is not None
    assert (cayley.regularizer, descent.regularizer) == (None, None)
    assert [recipe.settings["scale"] for recipe in (none, cayley, descent)] == [1.0, 10.0, 10.0]
    assert [RECIPES["thesis-table7.11-pubmed"](row=row).paper["top1"] for row in ("none", "cp", "ogd")] == [
        79.0,
        79.4,
        79.5,
    ]


def test_weight_decay_is_that_of_the_published_code() -> None:
    model = CORA_ENTRY(row="none", dataset="noise").model()
    penalty = CORA_ENTRY(row="none", dataset="noise").regularizer
    assert penalty is not None
    weight = dict(model.named_parameters())["hidden.lin.weight"]
    total = penalty(model)()
    assert total.item() == pytest.approx(5e-4 * 0.5 * weight.square().sum().item(), rel=1e-6)
    total.backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, 5e-4 * weight, rtol=1e-5)
    assert CORA_ENTRY(row="none", weight_decay=0.0).regularizer is None
    # An orthogonal matrix cannot change it, so it has no gradient.
    orthogonal.overparametrize(model, orthogonal.Cayley())
    rotated = regularization(first_layer_decay(1.0))
    assert rotated is not None
    rotated(model)().backward()
    matrix = dict(model.named_parameters())["hidden.lin.parametrizations.weight.0.maps.default.matrix"]
    assert matrix.grad is not None
    assert matrix.grad.abs().max() < 1e-5 < weight.square().sum()


def test_training_learns_and_keeps_neurons_apart_and_says_the_validation_accuracy() -> None:
    rows = compare(CORA_ENTRY, dataset="noise", epochs=60)
    result = run(rows, seeds=[0], accelerator="cpu", measure=False, threads=1)
    for row in result.rows:
        (seed,) = row.seeds
        assert seed.steps == 60  # all nodes in every step
        assert seed.final["top1"] > 60, row.row
        assert 60 < seed.final["validation"] <= 100, row.row
        energies = seed.observations["hyperspherical_energy"]["hidden.lin"]
        if row.row != "baseline":
            assert max(energies) == pytest.approx(min(energies), rel=1e-5)
            assert seed.end["orthogonality_deviation"]["hidden.lin"] < 1e-4
        else:
            assert max(energies) > min(energies) * 1.001


def test_validation_is_of_other_nodes_than_the_test() -> None:
    graph = CORA.load("noise")
    recipe = CORA_ENTRY(dataset="noise")
    assert recipe.evaluate is not None
    torch.manual_seed(1)
    model = recipe.model().eval()
    with torch.no_grad():
        right = model(graph.validation).argmax(1) == graph.labels[graph.validation]
        assert recipe.evaluate(model) == {"validation": pytest.approx(100 * right.float().mean().item())}
    assert recipe.data().test.labels.tolist() == graph.labels[graph.test].tolist()


def test_computed_weights_are_so_once_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count()

    class Counted(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            next(times)
            return weight

    def prepare(model: nn.Module) -> None:
        nn.utils.parametrize.register_parametrization(model.get_submodule("hidden.lin"), "weight", Counted())
        model.train()

    monkeypatch.setattr("onsphere.train.loop.EVALUATION_BATCH", 10)
    recipe = citations("noise", "none", epochs=1, weight_decay=0.0)
    rest = {name: getattr(recipe, name) for name in ("model", "data", "optimizer")}
    plain = Recipe(name="x", row="x", source="-", epochs=1, batch_size=100, prepare=prepare, **rest)
    run(plain, seeds=[0], accelerator="cpu", measure=False, threads=1)
    # One of them when it is registered, one of the step, and one of eight batches of the test.
    assert next(times) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": "gs"}, "row='gs' is none of none, cp, ogd"),
        ({"graph": "citeseer"}, "graph='citeseer' is none of cora, pubmed"),
        ({"coefficient": 0.5}, "coefficient=0.5 has no effect"),
        ({"scale": 0.0}, "scale=0.0 must be greater"),
        ({"rotation_rate": -1.0}, "rotation_rate=-1.0 must be greater"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be greater"),
        ({"epochs": 0}, "epochs=0: expected"),
    ],
    ids=["row", "graph", "coefficient", "scale", "rotation", "rate", "epochs"],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        citations(**settings)


def test_settings_other_than_the_paper_s_have_no_number_of_it() -> None:
    for other in ({"hidden": 8}, {"scale": 2.0}, {"weight_decay": 0.0}, {"start": "random"}, {"dropout": 0.0}):
        assert not citations("folder", "cp", **other).paper  # type: ignore[arg-type]
    assert citations("folder", "cp").paper


def test_edges_are_brought_into_both_directions() -> None:
    found = both_directions(torch.tensor([[3, 1, 1, 2], [1, 3, 1, 0]]))
    assert found.T.tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]
