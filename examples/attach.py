"""A training loop that is not touched: the regularizer is attached to its optimizer.

Run it: python examples/attach.py (a few seconds; needs scikit-learn for the images, which ship with it).
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import onsphere as osp


def training_script(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Somebody's loop, which knows of no regularizer; returns the accuracy on the last 500 digits in percent."""
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    images = images.float() / 16
    for _ in range(steps):
        batch = torch.randint(len(images) - 500, (64,))
        loss = cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return 100 * (model(images[-500:]).argmax(1) == labels[-500:]).float().mean().item()


def report(step: int, values: dict[str, float]) -> None:
    angles = ", ".join(f"{values[name]:.1f}" for name in values if name.startswith("minimum_angle_deg/"))
    print(f"  step {step}: minimum angle of each layer in degrees {angles}; regularizer {values['regularizer']:.4f}")


def main(steps: int = 400, coefficient: float = 0.07) -> None:
    for attached in (False, True):
        torch.manual_seed(123)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        print("with the regularizer" if attached else "without")
        regularizer = osp.Regularizer(model, osp.MMA(), coefficient=coefficient)
        if attached:
            osp.attach(optimizer, regularizer, log=report, log_every=100)  # the one line
        accuracy = training_script(model, optimizer, steps)
        report(steps, {"regularizer": regularizer().item()} | osp.integrations.curve(model))
        print(f"  accuracy {accuracy:.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--coefficient", type=float, default=0.07)
    main(**vars(parser.parse_args()))
