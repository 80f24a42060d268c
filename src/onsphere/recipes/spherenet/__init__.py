"""Chapter 3 of the thesis "Deep Representation Learning on Hypersphere": SphereNets.

A row is an operator of the hidden layers with a loss, or a kind of normalization.
"""

from onsphere.recipes.entry import Entry
from onsphere.recipes.image_sets import CIFAR10, CIFAR100, IMAGENET
from onsphere.recipes.spherenet.cifar import cifar
from onsphere.recipes.spherenet.imagenet import imagenet
from onsphere.recipes.spherenet.normalization import normalization
from onsphere.recipes.spherenet.rows import EVERY, EVERY_OPERATOR, LEARNED

__all__ = ["ENTRIES", "cifar", "imagenet", "normalization"]

_FEW = {"dataset": "noise", "train_images": 8, "test_images": 8, "steps": 2, "batch_size": 4}
_SMALL = {**_FEW, "width": 0.05}
_CONVERGENCE = ("conv+softmax", "cosine+softmax")
_NETWORKS = {"cnn-3": 23.5, "cnn-9": 160.4, "cnn-18": 365.6, "cnn-45": 981.4, "cnn-60": 1323.5, "resnet-32": 678.9}
_WIDTHS = {(16, 32, 48): 14.8, (32, 64, 96): 57.9, (64, 96, 128): 160.4, (128, 192, 256): 636.9}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "thesis-table3.1-cifar10",
        cifar,
        "thesis, Table 3.1",
        CIFAR10,
        megamacs=_NETWORKS["cnn-9"],
        smoke=_SMALL,
        fixed={"table": "Table 3.1", "network": "cnn-9", "classes": 10},
        some_rows=EVERY,
    ),
    Entry(
        "thesis-table3.2-cifar10",
        cifar,
        "thesis, Table 3.2",
        CIFAR10,
        megamacs=_NETWORKS,
        smoke=_SMALL,
        fixed={"table": "Table 3.2", "classes": 10},
        some_rows=EVERY_OPERATOR,
        variants={"network": tuple(_NETWORKS)},
    ),
    Entry(
        "thesis-table3.3-cifar10",
        cifar,
        "thesis, Table 3.3",
        CIFAR10,
        megamacs=_NETWORKS["cnn-18"],
        smoke=_SMALL,
        fixed={"table": "Table 3.3", "network": "cnn-18", "classes": 10, "relu": False},
        some_rows=EVERY_OPERATOR,
    ),
    *(
        Entry(
            f"thesis-table3.4-{images.title.replace('-', '').lower()}",
            cifar,
            "thesis, Table 3.4",
            images,
            megamacs=2475.2,
            smoke=_SMALL,
            fixed={
                "table": "Table 3.4",
                "network": "resnet-32",
                "classes": images.classes,
                "augmentation": "crop-flip",
                "widths": (96, 192, 384),
            },
            some_rows=(
                "conv+softmax",
                "sigmoid-0.3+w-sigmoid-0.3",
                "linear+w-linear",
                "cosine+w-cosine",
                "sigmoid-0.3+ga-softmax",
            ),
        )
        for images in (CIFAR10, CIFAR100)
    ),
    Entry(
        "thesis-section3.4.3-cifar10",
        cifar,
        "thesis, section 3.4.3 and Figure 3.4",
        CIFAR10,
        megamacs=_NETWORKS["cnn-9"],
        smoke=_SMALL,
        fixed={"table": "section 3.4.3", "network": "cnn-9", "classes": 10},
        some_rows=LEARNED,
    ),
    Entry(
        "thesis-figure3.3a-cifar10",
        cifar,
        "thesis, Figure 3.3 (a)",
        CIFAR10,
        megamacs=_NETWORKS["resnet-32"],
        smoke=_SMALL,
        fixed={"table": "Figure 3.3", "network": "resnet-32", "classes": 10},
        some_rows=_CONVERGENCE,
        variants={"augmentation": ("flip", "crop-flip")},
    ),
    Entry(
        "thesis-figure3.3b-cifar10",
        normalization,
        "thesis, Figure 3.3 (b)",
        CIFAR10,
        megamacs=_NETWORKS["cnn-9"],
        smoke=_SMALL,
        some_rows=("batch-norm", "batch-norm-sphere-norm", "batch-norm-sphere-norm-orthonormal"),
    ),
    Entry(
        "thesis-figure3.3c-cifar10",
        cifar,
        "thesis, Figure 3.3 (c)",
        CIFAR10,
        megamacs=_WIDTHS,
        smoke={**_SMALL, "widths": (80, 80, 80)},
        fixed={"table": "Figure 3.3", "network": "cnn-9", "classes": 10},
        some_rows=_CONVERGENCE,
        variants={"widths": tuple(_WIDTHS)},  # of which the text names the first and the third
    ),
    Entry(
        "thesis-figure3.3d-cifar10",
        cifar,
        "thesis, Figure 3.3 (d)",
        CIFAR10,
        megamacs=1528.8,
        smoke=_SMALL,
        fixed={"table": "Figure 3.3", "network": "cnn-69", "classes": 10},
        some_rows=("conv+softmax", "cosine+w-cosine"),
    ),
    Entry(
        "thesis-figure3.5-cifar10",
        normalization,
        "thesis, Figure 3.5",
        CIFAR10,
        megamacs=_NETWORKS["cnn-9"],
        smoke=_SMALL,
        some_rows=(
            "batch-norm",
            "sphere-norm",
            "sphere-norm-orthonormal",
            "sphere-norm-rescaled",
            "batch-norm-sphere-norm",
        ),
        variants={"batch_size": (4, 8, 16, 32)},
    ),
    Entry(
        "thesis-figure3.6-imagenet",
        imagenet,
        "thesis, Figure 3.6",
        IMAGENET,
        megamacs=20113.2,
        smoke={**_FEW, "width": 0.02, "image_size": 64},
    ),
)
