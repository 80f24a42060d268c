"""Orthogonal over-parameterized training in a plain PyTorch loop: neurons stay as they were drawn, and are turned.

Run it: python examples/orthogonal_training.py (half a minute; the images are scikit-learn's handwritten digits).
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

import onsphere as osp


def energy(model: nn.Sequential) -> float:
    """Hyperspherical energy of the first layer's neurons, the mean over pairs of 1 / distance (thesis, eq. 7.2)."""
    return osp.functional.mhe(model[0].weight.detach().double(), s=1.0).item()


def train(name: str, epochs: int, seed: int) -> tuple[nn.Sequential, float]:
    """A small network trained on 200 digits by a method of OPT or without ("none"), and its accuracy in percent."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, train_size=200, stratify=labels, random_state=0)
    train_x, test_x = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    train_y, test_y = (torch.tensor(part) for part in parts[2:])

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    drawn = energy(model)
    if name != "none":
        osp.overparametrize(model, osp.orthogonal.METHODS[name]())  # all layers but the last
    turned, others = osp.orthogonal.split(model.parameters())
    optimizer = torch.optim.SGD(others, lr=0.1, momentum=0.9)
    if turned:  # OrthogonalGD's matrices need an optimizer that keeps them orthogonal
        optimizer = osp.orthogonal.Pair(osp.OrthogonalSGD(turned, lr=0.1, momentum=0.9), optimizer)
    penalty = osp.orthogonal.Penalty(model) if name == "or" else lambda: 0.0

    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(50):
            loss = cross_entropy(model(train_x[batch]), train_y[batch]) + penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    if name != "none":
        osp.fold(model)  # an ordinary model from here on
    with torch.no_grad():
        accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
    print(f"{name:5s} accuracy {100 * accuracy:.2f} %, energy {drawn:.5f} when drawn, {energy(model):.5f} when trained")
    return model, 100 * accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("none", "gs", "hr", "ls", "cp", "exp", "ogd", "or")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=names,
        default=("none", "gs", "cp", "ogd"),
        help="as the thesis's tables call them",
    )
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--save", help="a file for the last model's weights")
    given = parser.parse_args()

    for name in given.methods:
        model, _ = train(name, given.epochs, given.seed)
    if given.save:
        torch.save(model.state_dict(), given.save)


if __name__ == "__main__":
    main()
