"""Decoupled networks: chapter 4 and appendix C of the thesis."""

from onsphere.recipes.dcnet.cifar import dcnet32, operators, optimization
from onsphere.recipes.dcnet.features import mnist_features
from onsphere.recipes.dcnet.imagenet import imagenet
from onsphere.recipes.dcnet.robustness import attacked
from onsphere.recipes.dcnet.rows import rows
from onsphere.recipes.entry import Entry
from onsphere.recipes.image_sets import CIFAR, CIFAR10, CIFAR100, IMAGENET, MNIST

__all__ = ["ENTRIES", "attacked", "dcnet32", "imagenet", "mnist_features", "operators", "optimization"]

_FEW = {"dataset": "noise", "train_images": 8, "test_images": 8}
_SMOKE = {**_FEW, "width": 0.05, "steps": 2, "batch_size": 4}
_PROJECTED = {**_SMOKE, "project_every": 1}
_CNN_9, _RESNET_32 = 268.2, 2475.2

ENTRIES = (
    Entry(
        "thesis-table4.1-cifar100",
        optimization,
        "thesis, Table 4.1",
        CIFAR100,
        megamacs=_RESNET_32,
        smoke=_PROJECTED,
        some_rows=(
            "standard",
            "linearly-weighted",
            "nonlinearly-weighted-product",
            "nonlinearly-weighted-separate",
            "weight-projection",
            "weighted-gradients",
        ),
    ),
    Entry(
        "thesis-table4.2-cifar100",
        operators,
        "thesis, Table 4.2",
        CIFAR100,
        megamacs=_CNN_9,
        smoke=_PROJECTED,
        fixed={"model": "cnn9", "batch_norm": False, "table": "4.2"},
        some_rows=rows("linear", "cosine", "square-cosine", magnitudes=("linear", "tanh", "seg")),
    ),
    Entry(
        "thesis-table4.3-cifar100",
        operators,
        "thesis, Table 4.3",
        CIFAR100,
        megamacs=_CNN_9,
        smoke=_PROJECTED,
        fixed={"model": "cnn9", "table": "4.3"},
        some_rows=rows("cosine", "square-cosine"),
        variants={"relu": (False, True)},
    ),
    *(
        Entry(
            f"thesis-table{table}-cifar100",
            operators,
            f"thesis, Table {table}",
            CIFAR100,
            megamacs=_RESNET_32,
            smoke=_PROJECTED,
            fixed={"optimizer": optimizer, "table": table},
        )
        for table, optimizer in (("4.4", "adam"), ("C.2", "sgd"))
    ),
    *(
        Entry(
            f"thesis-table4.5-{images.title.replace('-', '').lower()}",
            dcnet32,
            "thesis, Table 4.5",
            images,
            megamacs=_RESNET_32,
            smoke=_PROJECTED,
            fixed={"classes": classes},
        )
        for classes, images in CIFAR.items()
    ),
    Entry(
        "thesis-table4.6-imagenet",
        imagenet,
        "thesis, Table 4.6",
        IMAGENET,
        megamacs={"standard": 1814.1, "modified": 1931.0, "modified-without-bn": 1931.0},
        smoke={**_PROJECTED, "image_size": 64},
        variants={"network": ("standard", "modified", "modified-without-bn")},
    ),
    *(
        Entry(
            f"thesis-table{table}-cifar10",
            attacked,
            f"thesis, Table {table}",
            CIFAR10,
            megamacs=67.5,
            smoke={**_SMOKE, "attacked_images": 4, "iterations": 2},
            fixed={"transferred": transferred},
            variants={"training": ("natural", "adversarial")},
        )
        for table, transferred in (("4.7", False), ("4.8", True))
    ),
    *(
        Entry(
            f"thesis-figure{figure}-mnist",
            mnist_features,
            f"thesis, Figure {figure}",
            MNIST,
            megamacs=29.4,
            smoke={**_SMOKE, "train_images": 40, "test_images": 20},
            fixed={"training": training},
            some_rows=some,
        )
        for figure, training, some in (
            ("C.2", "natural", ()),
            ("C.3", "adversarial", ("baseline", "sphere", "ball", "tanh")),
        )
    ),
)
