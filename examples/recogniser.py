"""A recogniser in plain PyTorch: trained on some identities with ArcFace+, verified on others that it has never seen.

Run it: python examples/recogniser.py (ten seconds; figures of random strokes, so that it needs no files).
Images of your own: python examples/recogniser.py --folder characters, which holds parquet files, train/NAME/ and
test/NAME/, or NAME/ with --train-identities N (needs pyarrow and pillow).
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn

import onsphere as osp
from onsphere import data, verification


def figures(identities: int, each: int, generator: torch.Generator, size: int = 16) -> tuple[Tensor, Tensor]:
    """Images of figures of four strokes, (N, 1, size, size), and their identities, 0 to identities - 1.

    Every figure is drawn several times, elsewhere and with its corners moved a little.
    """
    corners = 0.2 + 0.6 * torch.rand(identities, 1, 5, 2, generator=generator)
    corners = corners + 0.03 * torch.randn(identities, each, 5, 2, generator=generator)
    corners = corners + 0.2 * (torch.rand(identities, each, 1, 2, generator=generator) - 0.5)
    along = torch.linspace(0, 1, 8)[:, None]
    strokes = torch.lerp(corners[..., :-1, None, :], corners[..., 1:, None, :], along)
    points = strokes.reshape(identities * each, -1, 2)
    grid = (torch.arange(size) + 0.5) / size
    rows = (grid[:, None] - points[:, None, :, 0]).square()  # (N, size, points)
    columns = (grid[:, None] - points[:, None, :, 1]).square()
    distance = (rows[:, :, None] + columns[:, None]).amin(-1)
    return (-distance / 0.003).exp().unsqueeze(1), torch.arange(identities).repeat_interleave(each)


def folder(path: str, train_identities: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Grey 32 x 32 images to train on and their labels, and those of other identities."""
    found = data.open_set(path, train_classes=train_identities, image_size=32, channels=1, in_memory=True)
    if found.unseen is None:
        raise SystemExit(f"{path}: all identities are trained on; keep some with --train-identities N")
    train, unseen = found.data.train, found.unseen
    return train.images / 255, train.labels, unseen.images / 255, unseen.labels


def body(size: int, features: int) -> nn.Sequential:
    """Grey images to features; no ReLU behind the last layer, so that they may point anywhere."""
    side = size // 4
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.PReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.PReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * side * side, features),
    )  # fmt: skip


def train(images: Tensor, labels: Tensor, margin: float, scale: float, epochs: int) -> nn.Module:
    """The body of a recogniser; the head is needed for the training only."""
    model = body(images.shape[-1], features=64)
    head = osp.AngularSoftmax(64, int(labels.max()) + 1, osp.ArcFace(margin), scale=scale)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)

    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            loss = head(model(images[batch]), labels[batch]) + 0.03 * osp.functional.mma(head.weight)  # ArcFace+
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


@torch.no_grad()
def features(model: nn.Module, images: Tensor) -> np.ndarray:
    model.eval()
    return torch.cat([model(part) for part in images.split(256)]).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="images of your own (default: figures of random strokes)")
    parser.add_argument("--train-identities", type=int, help="the first N folders, where there is no test set")
    parser.add_argument("--margin", type=float, default=0.5, help="of ArcFace, radians (default: 0.5)")
    parser.add_argument("--scale", type=float, default=16.0, help="of ArcFace (default: 16)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    if given.folder is None:
        generator = torch.Generator().manual_seed(given.seed)
        images, labels = figures(200, 10, generator)
        unseen, identities = figures(100, 10, generator)
    else:
        images, labels, unseen, identities = folder(given.folder, given.train_identities)
    model = train(images, labels, given.margin, given.scale, given.epochs)

    pairs = verification.random_pairs(identities.numpy(), count=given.pairs, folds=10, seed=given.seed)
    for name, vectors in (("pixels alone", unseen.flatten(1).numpy()), ("recogniser", features(model, unseen))):
        found = verification.verify(verification.scores(vectors, pairs), pairs)
        print(f"{name}: accuracy {found.accuracy:.1%} on {given.pairs} pairs of unseen identities, EER {found.eer:.1%}")


if __name__ == "__main__":
    main()
