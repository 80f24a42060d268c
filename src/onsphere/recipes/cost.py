"""What a training costs, estimated from the multiply-adds of its network."""

from __future__ import annotations

from dataclasses import dataclass

from onsphere.train import Recipe

# One batch of 128 images of VGG19-BN: forward, backward and step.
_MULTIPLY_ADDS = 128 * 398.2e6
_CPU_SECONDS = 1.46  # measured on two cores of an AMD EPYC: results/table3-cifar100-300-steps.json
_GPU_SECONDS = 0.070  # the MMA paper's, on a GeForce GTX 1080: Table 3

BASIS = (
    "Hours are for one row and one seed: estimates by multiply-adds, scaled from VGG19-BN's batch of 128 images, which "
    "takes 1.46 s on two CPU cores (measured) and 0.070 s on a GTX 1080 (MMA paper, Table 3). Thin networks take more "
    "than this says, today's GPUs a fraction of it."
)


@dataclass(frozen=True)
class Hours:
    """Estimated hours of one training on a GTX 1080 and on two CPU cores."""

    gpu: float
    cpu: float


def hours(recipe: Recipe, multiply_adds: float, train_images: int) -> Hours:
    """Estimate what one row with one seed takes; see BASIS.

    Args:
        recipe: the row.
        multiply_adds: of its network for one image, forward.
        train_images: how many the data set has.
    """
    seen = recipe.epochs * train_images
    if recipe.max_steps is not None:
        seen = min(seen, recipe.max_steps * recipe.batch_size)
    batches = seen * multiply_adds / _MULTIPLY_ADDS
    return Hours(batches * _GPU_SECONDS / 3600, batches * _CPU_SECONDS / 3600)
