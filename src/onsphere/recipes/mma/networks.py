"""The networks of the MMA paper's experiments, and how the papers that introduced them trained them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from onsphere import models
from onsphere.recipes.settings import check_positive, milestones_or

NetworkName = Literal["vgg16_bn", "vgg19_bn", "resnet20", "resnet56", "wrn_16_8", "wrn_28_10", "densenet_40_12"]


@dataclass(frozen=True)
class Training:
    """A training by SGD with momentum 0.9 from learning rate 0.1 on.

    Args:
        epochs: passes over the training images.
        milestones: epochs after which the learning rate is multiplied by ``factor``.
        factor: see there.
        weight_decay: on every parameter.
        batch_size: images a step.
        nesterov: Nesterov's momentum instead of the heavy ball's.
    """

    epochs: int
    milestones: tuple[int, ...]
    factor: float
    weight_decay: float
    batch_size: int = 128
    nesterov: bool = False

    def resolve(
        self,
        epochs: int | None,
        batch_size: int | None,
        learning_rate: float,
        momentum: float,
        weight_decay: float | None,
        milestones: Sequence[int] | None,
    ) -> dict[str, Any]:
        """What was given, and this training's own where nothing was; milestones keep their share of the epochs."""
        epochs = self.epochs if epochs is None else epochs
        check_positive(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
        return {
            "epochs": epochs,
            "batch_size": self.batch_size if batch_size is None else batch_size,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "weight_decay": self.weight_decay if weight_decay is None else weight_decay,
            "milestones": milestones_or(milestones, self.milestones, self.epochs, epochs),
        }

    def builders(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a Recipe that ``resolve``'s answer determines."""
        return {
            "optimizer": partial(
                SGD,
                lr=settings["learning_rate"],
                momentum=settings["momentum"],
                weight_decay=settings["weight_decay"],
                nesterov=self.nesterov and settings["momentum"] > 0,
            ),
            "schedule": partial(MultiStepLR, milestones=settings["milestones"], gamma=self.factor),
            "epochs": settings["epochs"],
            "batch_size": settings["batch_size"],
        }


@dataclass(frozen=True)
class Network:
    """A network as the tables call it, whether it has skip connections, and its training on CIFAR."""

    title: str
    build: Callable[..., nn.Module]
    skips: bool
    training: Training


# VGG: the widely used PyTorch CIFAR code by W. Yang (bearpaw/pytorch-classification, TRAINING.md).
_VGG = Training(epochs=164, milestones=(81, 122), factor=0.1, weight_decay=5e-4)
# He et al. 2016, section 4.2: 64k steps of 128 images, divided by 10 at 32k and 48k.
_RESNET = Training(epochs=164, milestones=(81, 122), factor=0.1, weight_decay=1e-4)
# Zagoruyko and Komodakis 2016, section 3.
_WRN = Training(epochs=200, milestones=(60, 120, 160), factor=0.2, weight_decay=5e-4, nesterov=True)
# Huang et al. 2017, section 4.2.
_DENSENET = Training(epochs=300, milestones=(150, 225), factor=0.1, weight_decay=1e-4, batch_size=64, nesterov=True)

NETWORKS: Mapping[NetworkName, Network] = {
    "vgg16_bn": Network("VGG16-BN", models.vgg16_bn, skips=False, training=_VGG),
    "vgg19_bn": Network("VGG19-BN", models.vgg19_bn, skips=False, training=_VGG),
    "resnet20": Network("ResNet20", models.resnet20, skips=True, training=_RESNET),
    "resnet56": Network("ResNet56", models.resnet56, skips=True, training=_RESNET),
    "wrn_16_8": Network("WRN-16-8", models.wrn_16_8, skips=True, training=_WRN),
    "wrn_28_10": Network("WRN-28-10", models.wrn_28_10, skips=True, training=_WRN),
    "densenet_40_12": Network("DenseNet-40-12", models.densenet_40_12, skips=True, training=_DENSENET),
}

# Wang, Zhang and Grosse 2020, section 5.1, whose settings the MMA paper follows on TinyImageNet; the weight decay is
# that of their code (alecwangcq/GraSP, configs/tiny_imagenet).
TINY_IMAGENET_TRAINING: Mapping[str, Training] = {
    "vgg16_bn": Training(epochs=300, milestones=(150, 225), factor=0.1, weight_decay=5e-4),
    "resnet56": Training(epochs=300, milestones=(150, 225), factor=0.1, weight_decay=1e-4),
}
