"""Recipes: the papers' experiments, each a function whose parameters are its settings, and the table of them."""

from collections.abc import Mapping

from onsphere.recipes import dcnet, margins, mhe, mma, opt, reconstruction, spherenet
from onsphere.recipes.entry import Entry, compare
from onsphere.recipes.image_sets import CASIA, CIFAR10, CIFAR100, DIGITS, IMAGENET, MNIST, OMNIGLOT, ORL, TINY_IMAGENET

__all__ = ["COMPARISONS", "RECIPES", "Entry", "compare"]

_FEW = {"dataset": "noise", "train_images": 8, "test_images": 8}
_MMA = {**_FEW, "width": 0.1, "epochs": 1, "batch_size": 4}
_MHE = {**_FEW, "widths": (4, 4, 4), "steps": 2, "batch_size": 4}
_EVERY_MHE = ("none", *mhe.VARIANTS)
_MARGINS = {"dataset": "noise", "width": 0.05, "steps": 2, "batch_size": 4}
_OPEN_SET = {**_MARGINS, "features": 4, "image_size": 16, "pairs": 8, "folds": 2}
_FACES = {**_MARGINS, "features": 4, "image_size": (16, 12)}
_M = tuple(f"sphereface-m{m}" for m in (1, 2, 3, 4))
_M_PLUS = tuple(row for m in _M for row in (m, f"{m}-mhe"))
_LOSSES = ("softmax", "softmax-contrastive", "triplet", "l-softmax-m4", "softmax-centre")
_SPHEREFACE = {4: 169.7, 10: 764.2, 20: 1755.2, 36: 3340.6, 64: 6115.1}
_CNN_9 = ("none", "mhe-s2", "half-mhe-s2")

_ENTRIES = (
    Entry(
        "table3-digits",
        mma.table3_digits,
        "MMA paper, Table 3 in small",
        DIGITS,
        megamacs=2.4,
        smoke={"train_images": 20, "widths": (2, 2, 2), "depth": 3, "epochs": 1, "batch_size": 10},
        threads=1,
    ),
    Entry(
        "table2-cifar100",
        mma.cifar100,
        "MMA paper, Table 2",
        CIFAR100,
        megamacs=398.2,
        smoke=_MMA,
        fixed={"model": "vgg19_bn"},
        some_rows=("none", "mma"),
        variants={"layers": ("hidden", "everywhere")},
    ),
    Entry(
        "table3-cifar100",
        mma.cifar100,
        "MMA paper, Table 3",
        CIFAR100,
        megamacs=398.2,
        smoke=_MMA,
    ),
    Entry(
        "table4-cifar100",
        mma.wrn_cifar100,
        "MMA paper, Table 4",
        CIFAR100,
        megamacs=5243.4,
        smoke=_MMA,
    ),
    Entry(
        "table5-cifar100",
        mma.cifar100,
        "MMA paper, Table 5",
        CIFAR100,
        megamacs={"resnet56": 125.5, "vgg19_bn": 398.2, "wrn_16_8": 1548.2, "densenet_40_12": 283.0},
        smoke=_MMA,
        some_rows=("none", "mma"),
        variants={"model": ("resnet56", "vgg19_bn", "wrn_16_8", "densenet_40_12")},
    ),
    Entry(
        "table6-tinyimagenet",
        mma.tinyimagenet,
        "MMA paper, Table 6",
        TINY_IMAGENET,
        megamacs={"resnet56": 502.0, "vgg16_bn": 1252.9},
        smoke=_MMA,
        variants={"model": ("resnet56", "vgg16_bn")},
    ),
    *(
        Entry(
            f"figure{number}-cifar100",
            mma.cifar100,
            f"MMA paper, Figure {number}",
            CIFAR100,
            megamacs=work,
            smoke=_MMA,
            fixed={"model": model},
            some_rows=("none", "mma"),
            sweep=(0.01, 1.0) if number in (3, 4) else None,
        )
        for number, model, work in (
            (3, "vgg19_bn", 398.2),
            (4, "resnet20", 40.6),
            (5, "vgg19_bn", 398.2),
            (6, "resnet56", 125.5),
        )
    ),
    Entry(
        "supplement-cifar100",
        mma.cifar100,
        "MMA paper, supplement D, Figure 1",
        CIFAR100,
        megamacs=398.2,
        smoke=_MMA,
        fixed={"model": "vgg19_bn"},
    ),
    *(
        Entry(
            f"thesis-table5.1-{images.title.replace('-', '').lower()}",
            mhe.plain_network,
            "thesis, Table 5.1",
            images,
            megamacs=267.1,
            smoke=_MHE,
            fixed={"classes": images.classes, "table": "5.1", "layers": "everywhere"},
            some_rows=_EVERY_MHE,
        )
        for images in (CIFAR10, CIFAR100)
    ),
    Entry(
        "thesis-table5.2-cifar100",
        mhe.plain_network,
        "thesis, Table 5.2",
        CIFAR100,
        megamacs={
            (16, 32, 64): 17.0,
            (32, 64, 128): 67.2,
            (64, 128, 256): 267.1,
            (128, 256, 512): 1064.7,
            (256, 512, 1024): 4251.8,
        },
        smoke=_MHE,
        fixed={"classes": 100, "table": "5.2", "layers": "everywhere"},
        some_rows=_CNN_9,
        variants={"widths": ((16, 32, 64), (32, 64, 128), (64, 128, 256), (128, 256, 512), (256, 512, 1024))},
    ),
    Entry(
        "thesis-table5.3-cifar100",
        mhe.plain_network,
        "thesis, Table 5.3",
        CIFAR100,
        megamacs={6: 153.8, 9: 267.1, 15: 493.6},
        smoke=_MHE,
        fixed={"classes": 100, "table": "5.3", "layers": "everywhere"},
        some_rows=_CNN_9,
        variants={"depth": (6, 9, 15)},
    ),
    Entry(
        "thesis-table5.4-cifar100",
        mhe.plain_network,
        "thesis, Table 5.4",
        CIFAR100,
        megamacs=267.1,
        smoke=_MHE,
        fixed={"classes": 100, "table": "5.4"},
        some_rows=("none", "mhe-s2", "half-mhe-s2", "a-mhe-s2", "half-a-mhe-s2"),
        variants={"layers": ("output", "hidden", "everywhere")},
    ),
    *(
        Entry(
            f"thesis-table5.5-{images.title.replace('-', '').lower()}",
            mhe.wide_resnet,
            "thesis, Table 5.5",
            images,
            megamacs=1100.7,
            smoke=_MHE,
            fixed={"classes": images.classes},
        )
        for images in (CIFAR10, CIFAR100)
    ),
    Entry(
        "thesis-table5.6-imagenet",
        mhe.imagenet,
        "thesis, Table 5.6",
        IMAGENET,
        megamacs={"resnet18": 1814.1, "resnet34": 3663.8},
        smoke={**_FEW, "width": 0.05, "image_size": 64, "steps": 2, "batch_size": 4},
        variants={"model": ("resnet18", "resnet34")},
    ),
    *(
        Entry(
            f"thesis-table{table}-{images.title.replace('-', '').lower()}",
            mhe.imbalanced_cifar,
            f"thesis, Table {table}",
            images,
            megamacs=267.1,
            smoke={**_MHE, "train_images": 100 * images.classes},  # as many as the last class needs
            fixed={"classes": images.classes},
            variants={"imbalance": ("single", "multiple")},
        )
        for table, images in (("5.7", CIFAR10), ("D.6", CIFAR100))
    ),
    *(
        Entry(
            f"thesis-tableD.3-{images.title.replace('-', '').lower()}",
            mhe.spherenet,
            "thesis, Table D.3",
            images,
            megamacs=267.1,
            smoke=_MHE,
            fixed={"classes": images.classes},
            some_rows=("none", "orthonormal", *mhe.VARIANTS),
        )
        for images in (CIFAR10, CIFAR100)
    ),
    Entry(
        "thesis-figure5.3-cifar100",
        mhe.plain_network,
        "thesis, Figure 5.3",
        CIFAR100,
        megamacs=267.1,
        smoke=_MHE,
        fixed={"classes": 100, "table": "5.4"},
        some_rows=("none", "mhe-s2", "half-mhe-s2"),
        variants={"layers": ("output", "hidden")},
        sweep=(0.01, 100.0),
    ),
    Entry(
        "thesis-figure5.4-mnist",
        mhe.imbalanced_mnist,
        "thesis, Figure 5.4",
        MNIST,
        megamacs=116.1,
        smoke={**_MHE, "train_images": 40, "zeros": 1},
    ),
    *(
        Entry(
            f"thesis-table{table}-{images.title.replace('-', '').lower()}",
            margins.lsoftmax,
            f"thesis, Table {table}",
            images,
            megamacs=work,
            smoke={**_MARGINS, **_FEW},
            fixed={"images": images.title.replace("-", "").lower()},
            variants={"augmented": (False, True)} if table == "2.3" else {},
        )
        for table, images, work in (("2.2", MNIST, 114.5), ("2.3", CIFAR10, 266.5), ("2.4", CIFAR100, 940.1))
    ),
    Entry(
        "thesis-table2.5-lfw",
        margins.lsoftmax_faces,
        "thesis, Table 2.5",
        CASIA,
        megamacs=2195.6,
        smoke=_FACES,
    ),
    *(
        Entry(
            f"thesis-{words.replace(' ', '').replace('Table', 'table')}-faces",
            margins.sphereface,
            f"thesis, {words}",
            CASIA,
            megamacs=_SPHEREFACE[depth],
            smoke=_FACES,
            fixed={"table": words.split()[1]},
            some_rows=rows,
        )
        for words, depth, rows in (
            ("Table 2.8", 64, ("softmax", *_M)),
            ("Table 2.9", 64, (*_LOSSES, "sphereface-m4")),
            ("Table 2.10", 64, (*_LOSSES, "sphereface-m4")),
            ("Table 5.8", 20, _M_PLUS),
            ("Table 5.9", 64, _M_PLUS),
            ("Table 5.10", 64, (*_LOSSES, "cosface", "sphereface-m4", "sphereface-m4-mhe")),
            ("section D.6", 20, ("cosface", "cosface-mhe")),
            ("Table D.7", 20, _M_PLUS),
        )
    ),
    Entry(
        "thesis-tableA.1-faces",
        margins.ablation,
        "thesis, Table A.1",
        CASIA,
        megamacs=_SPHEREFACE[4],
        smoke=_FACES,
    ),
    Entry(
        "thesis-tableA.2-faces",
        margins.sphereface,
        "thesis, Table A.2",
        CASIA,
        megamacs=_SPHEREFACE,
        smoke=_FACES,
        fixed={"table": "A.2"},
        some_rows=("softmax", "sphereface-m4"),
        variants={"depth": (4, 10, 20, 36, 64)},
    ),
    Entry(
        "thesis-tableD.8-faces",
        margins.sphereface,
        "thesis, Table D.8",
        CASIA,
        megamacs=_SPHEREFACE[20],
        smoke=_FACES,
        fixed={"table": "D.8"},
        some_rows=("sphereface-m4", "sphereface-m4-mhe"),
        variants={"trained_on": ("casia", "imdb-face", "ms-celeb")},
    ),
    Entry(
        "table7-faces",
        margins.arcface,
        "MMA paper, Table 7",
        CASIA,
        megamacs=6314.7,
        smoke=_FACES,
    ),
    Entry(
        "mnist-features",
        margins.mnist_features,
        "thesis, Figures 2.2, 2.10 and A.5",
        MNIST,
        megamacs=5.2,
        smoke={**_MARGINS, "train_images": 40, "test_images": 20},
        variants={"features": (2, 3)},
        threads=1,
    ),
    Entry(
        "omniglot-open-set",
        margins.omniglot,
        "our own, after thesis, Table 5.8",
        OMNIGLOT,
        megamacs=1.1,
        smoke=_OPEN_SET,
        threads=1,
    ),
    Entry(
        "orl-open-set",
        margins.orl,
        "our own, after thesis, Table 5.8",
        ORL,
        megamacs=14.7,
        smoke=_OPEN_SET,
        threads=1,
    ),
)

RECIPES: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (*_ENTRIES, *spherenet.ENTRIES, *dcnet.ENTRIES, *opt.ENTRIES, *reconstruction.ENTRIES)
}

# What `onsphere compare` knows: every table, and short names for the two that are used most.
COMPARISONS: Mapping[str, Entry] = {
    "digits": RECIPES["table3-digits"],
    "cifar100": RECIPES["table3-cifar100"],
    **RECIPES,
}
