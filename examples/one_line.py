"""A plain PyTorch training loop on handwritten digits, once without and once with one line of onsphere.

Run it: python examples/one_line.py (a few seconds; needs scikit-learn for the images, which ship with it).
"""

import argparse
import math

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

import onsphere as osp


def train(coefficient: float, epochs: int, seed: int) -> tuple[nn.Module, float]:
    """A small network trained on 200 digits, and its accuracy on the others in percent."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, train_size=200, stratify=labels, random_state=0)
    train_x, test_x = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    train_y, test_y = (torch.tensor(part) for part in parts[2:])

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    regularizer = osp.Regularizer(model, osp.MMA(), coefficient=coefficient)  # the one line

    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(50):
            loss = cross_entropy(model(train_x[batch]), train_y[batch]) + regularizer()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
    return model, 100 * accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coefficient", type=float, default=0.07, help="of the second run (default: 0.07)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=123)
    given = parser.parse_args()

    for coefficient in (0.0, given.coefficient):
        model, accuracy = train(coefficient, given.epochs, given.seed)
        angles = osp.diagnostics.minimum_angles(model)
        degrees = ", ".join(f"{layer} {math.degrees(angle):.1f}" for layer, angle in angles.items())
        print(f"coefficient {coefficient:g}: accuracy {accuracy:.2f} %, minimum angles in degrees: {degrees}")


if __name__ == "__main__":
    main()
