"""A LightningModule that is not touched: the regularizer is a callback of its Trainer.

Run it: python examples/lightning_callback.py (some seconds; needs lightning, and scikit-learn for the images).
"""

import argparse
import logging

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset

import onsphere as osp
from onsphere.integrations.lightning import RegularizerCallback


class Digits(LightningModule):  # somebody's module, which knows of no regularizer
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main(epochs: int = 10, coefficient: float = 0.07) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    images, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    data = TensorDataset(images.float() / 16, labels)
    train = DataLoader(Subset(data, range(1297)), 64, shuffle=True)
    test = DataLoader(Subset(data, range(1297, 1797)), 500)
    for regularized in (False, True):
        torch.manual_seed(123)
        module = Digits()
        regularizer = osp.Regularizer(module, osp.MMA(), coefficient=coefficient)
        callbacks = [RegularizerCallback(regularizer)] if regularized else []  # the one line
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(max_epochs=epochs, gradient_clip_val=1.0, callbacks=callbacks, accelerator="cpu", **quiet)
        trainer.fit(module, train, test)
        print("with the regularizer" if regularized else "without", end=": ")
        print(f"accuracy {100 * trainer.callback_metrics['accuracy']:.1f} %")
        for name, value in osp.integrations.curve(regularizer).items():  # the callback logs the same
            if name.startswith("minimum_angle_deg/"):
                print(f"  {name} {value:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--coefficient", type=float, default=0.07)
    main(**vars(parser.parse_args()))
