"""A pretrained network tuned to other classes by turning its neurons: OPT beside peft's OFT, in plain PyTorch.

Run it: python examples/fine_tuning.py (a minute; needs scikit-learn for the images and peft for its row).
A network learns the handwritten digits 0 to 4 and is tuned to 5 to 9 by a few images of each.
"""

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import onsphere as osp

Part = tuple[Tensor, Tensor]
HIDDEN = ("0", "2")  # the layers that are tuned; "4" is the classifier
BLOCK = 32  # inputs of a layer that are turned together


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 5))


def digits(shots: int, seed: int) -> tuple[Part, Part, Part]:
    """Images and labels of 0 to 4 to train on, of 5 to 9 `shots` a class to tune on, and their other images to test."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    old, new = order[y[order] < 5], order[y[order] >= 5]
    few = torch.cat([new[y[new] == digit][:shots] for digit in range(5, 10)])
    rest = new[~torch.isin(new, few)]
    return (x[old], y[old]), (x[few], y[few] - 5), (x[rest], y[rest] - 5)


def train(model: nn.Module, part: Part, steps: int, lr: float, seed: int) -> None:
    images, labels = part
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randint(len(labels), (32,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, part: Part) -> float:
    images, labels = part
    return 100 * (model(images).argmax(1) == labels).float().mean().item()


def everything(model: nn.Sequential) -> nn.Module:
    return model


def classifier_alone(model: nn.Sequential) -> nn.Module:
    for name in HIDDEN:
        model.get_submodule(name).requires_grad_(False)
    return model


def opt(model: nn.Sequential, block: int | None = None) -> nn.Module:
    """The neurons and biases of the hidden layers stay, and the neurons are turned."""
    for name in HIDDEN:
        layer = model.get_submodule(name)
        layer.requires_grad_(False)
        blocks = layer.in_features // block if block else 1
        osp.overparametrize(model, osp.orthogonal.Cayley(), osp.where.named(name), blocks=blocks)
    return model


def oft(model: nn.Sequential, **options: bool) -> nn.Module:
    from peft import OFTConfig, get_peft_model

    config = OFTConfig(target_modules=list(HIDDEN), modules_to_save=["4"], oft_block_size=BLOCK, **options)
    return get_peft_model(model, config)


ROWS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "classifier alone": classifier_alone,
    "everything": everything,
    "OPT (CP)": opt,
    "OPT (CP), blocks of 32": partial(opt, block=BLOCK),
    "peft's OFT, blocks of 32": partial(oft, use_cayley_neumann=False),
    "peft's OFT, blocks of 32, Cayley-Neumann": oft,
}


@cache
def pretrained(shots: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    model = network()
    train(model, digits(shots, seed)[0], 600, 1e-3, seed)
    model[4].reset_parameters()  # for other classes
    return model


def tuned(row: str, shots: int, steps: int, rate: float, seed: int) -> tuple[int, float]:
    """How many free numbers a row tunes, and its accuracy on the new digits in percent."""
    _, few, rest = digits(shots, seed)
    model = ROWS[row](copy.deepcopy(pretrained(shots, seed)))
    train(model, few, steps, rate, seed)
    return free(model), accuracy(model, rest)


def free(model: nn.Module) -> int:
    """Numbers that are learned; of Cayley's square matrices only what is below the diagonal counts."""
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return sum(
        p.numel() if ".maps." not in name else p.numel() * (p.shape[-1] - 1) // (2 * p.shape[-1])
        for name, p in learned.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--shots", type=int, default=10, help="images of each of the new digits (default: 10)")
    parser.add_argument("--steps", type=int, default=300, help="of tuning (default: 300)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2, 3e-2], help="Adam's, one a column")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--record", type=Path, help="a JSON file to write the numbers to")
    given = parser.parse_args()

    rows = []
    print(f"{'':42s}{'free numbers':>14s}" + "".join(f"{f'lr {rate:g}':>14s}" for rate in given.rates))
    for row in given.rows:
        found = [[tuned(row, given.shots, given.steps, rate, s) for s in range(given.seeds)] for rate in given.rates]
        accuracies = [[value for _, value in seeds] for seeds in found]
        cells = [f"{statistics.mean(each):.1f} ± {statistics.pstdev(each):.1f}" for each in accuracies]
        print(f"{row:42s}{found[0][0][0]:14d}" + "".join(f"{cell:>14s}" for cell in cells), flush=True)
        rows.append({"row": row, "free": found[0][0][0], "accuracies": accuracies})
    if given.record:
        settings = {name: value for name, value in vars(given).items() if name not in ("record", "rows")}
        settings |= {"torch": torch.__version__, "peft": version("peft")}
        given.record.write_text(json.dumps({**settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
