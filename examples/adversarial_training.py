"""A small network trained naturally and against an attack, and how both do under attacks, in plain PyTorch.

Run it: python examples/adversarial_training.py (ten seconds; the images are scikit-learn's handwritten digits).
"""

import argparse
from functools import partial

import torch
from torch import nn

from onsphere import attacks, data


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def train(images: torch.Tensor, labels: torch.Tensor, eps: float | None, epochs: int, seed: int) -> nn.Module:
    """A network for pixels from 0 to 1; eps is what it is trained against, None for nothing."""
    torch.manual_seed(seed)
    model = network()
    # Where images were normalised, mean and std say how, so that eps stays one of pixels.
    objective = attacks.AdversarialTraining(model, eps or 0.0, weight=0.0 if eps is None else 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(50):
            optimizer.zero_grad()
            objective(images[chosen], labels[chosen]).backward()
            optimizer.step()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--eps", type=float, default=24.0, help="the most that a pixel may change, of 255 (default: 24)"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    digits = data.digits()
    eps = given.eps / 255
    fgsm = partial(attacks.fgsm, eps=eps)
    bim = partial(attacks.bim, eps=eps, step=eps / 4, steps=20)
    models = {
        name: train(digits.train.images / 255, digits.train.labels, against, given.epochs, given.seed)
        for name, against in (("natural", None), ("adversarial", eps))
    }
    for name, model in models.items():
        clean, fast, iterative = (attacks.robustness(model, digits.test, each) for each in (None, fgsm, bim))
        strength = 255 * attacks.strengths(model, digits.test, limit=200).median("l2")
        print(
            f"{name} training: accuracy {clean:.1f}%, FGSM {fast:.1f}%, BIM {iterative:.1f}%, DeepFool {strength:.0f}"
        )
    black = attacks.robustness(models["natural"], digits.test, bim, source=models["adversarial"])
    print(f"natural training, images made on the other network: BIM {black:.1f}%")


if __name__ == "__main__":
    main()
