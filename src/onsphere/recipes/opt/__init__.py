"""Orthogonal over-parameterized training: chapter 7 and appendix F of the thesis."""

from onsphere.recipes.entry import Entry
from onsphere.recipes.image_sets import CIFAR100, IMAGENET, MNIST
from onsphere.recipes.opt import few_shot, graphs, point_clouds
from onsphere.recipes.opt.blocks import parameter_efficient
from onsphere.recipes.opt.cifar import initial_energy, plain_network, resnet
from onsphere.recipes.opt.imagenet import imagenet
from onsphere.recipes.opt.mnist import mnist
from onsphere.recipes.opt.paper import BLOCKS

__all__ = ["ENTRIES", "imagenet", "initial_energy", "mnist", "parameter_efficient", "plain_network", "resnet"]

_TINY = {"dataset": "noise", "train_images": 4, "test_images": 4, "batch_size": 4}
_FEW = {**_TINY, "steps": 1}
_SMOKE = {**_FEW, "widths": (4, 4, 4)}
_REFINED = {**_SMOKE, "refine_steps": 2}
_ALL = ("none", "hs-mhe", "gs", "hr", "ls", "cp", "ogd", "or")
_CNN = {6: 63.2, 9: 112.7}
_DEPTHS = {"depth": (6, 9)}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "thesis-table7.1-cifar100",
        plain_network,
        "thesis, Table 7.1",
        CIFAR100,
        megamacs=_CNN,
        smoke=_SMOKE,
        fixed={"table": "7.1"},
        some_rows=("none", "upt-learnable", "upt", "gs-learnable", "gs"),
        variants=_DEPTHS,
    ),
    Entry(
        "thesis-table7.2-cifar100",
        initial_energy,
        "thesis, Table 7.2",
        CIFAR100,
        megamacs=_CNN[6],
        smoke=_SMOKE,
    ),
    Entry(
        "thesis-table7.3-mnist",
        mnist,
        "thesis, Table 7.3",
        MNIST,
        megamacs=0.27,
        smoke={**_TINY, "hidden": (4,), "epochs": 1},
        variants={"initialization": ("normal", "xavier")},
    ),
    Entry(
        "thesis-table7.4-cifar100",
        plain_network,
        "thesis, Table 7.4",
        CIFAR100,
        megamacs=_CNN,
        smoke=_SMOKE,
        fixed={"table": "7.4"},
        some_rows=_ALL,
        variants=_DEPTHS,
    ),
    Entry(
        "thesis-table7.5-cifar100",
        plain_network,
        "thesis, Table 7.5",
        CIFAR100,
        megamacs=_CNN[6],
        smoke=_SMOKE,
        fixed={"batch_norm": False, "table": "7.5"},
        some_rows=_ALL,
    ),
    Entry(
        "thesis-table7.6-cifar100",
        plain_network,
        "thesis, Table 7.6",
        CIFAR100,
        megamacs=_CNN[6],
        smoke=_REFINED,
        fixed={"table": "7.6"},
        some_rows=("gs", "ls", "cp"),
        variants={"refine": ("none", "mhe", "hs-mhe")},
    ),
    Entry(
        "thesis-table7.7-cifar100",
        plain_network,
        "thesis, Table 7.7",
        CIFAR100,
        megamacs=_CNN[6],
        smoke=_SMOKE,
        fixed={"table": "7.7"},
        some_rows=("none", "gs", "hr", "ls", "cp", "ogd", "or"),
        variants={"normalize": (False, True)},
    ),
    Entry(
        "thesis-figure7.3-cifar100",
        plain_network,
        "thesis, Figures 7.3 and F.2",
        CIFAR100,
        megamacs=_CNN[6],
        smoke=_SMOKE,
        some_rows=("none", "hs-mhe", "gs", "cp", "or"),
    ),
    Entry(
        "thesis-table7.8-cifar100",
        resnet,
        "thesis, Table 7.8",
        CIFAR100,
        megamacs={20: 40.6, 32: 68.9},
        smoke={**_FEW, "width": 0.1},
        variants={"depth": (20, 32)},
    ),
    Entry(
        "thesis-table7.9-imagenet",
        imagenet,
        "thesis, Table 7.9",
        IMAGENET,
        megamacs=1046.3,
        smoke={**_FEW, "width": 0.05, "image_size": 64, "fc_blocks": 2},
    ),
    *(
        Entry(
            f"thesis-table{table}-cifar100",
            parameter_efficient,
            f"thesis, Table {table}",
            CIFAR100,
            megamacs=_CNN[6],
            smoke={**_SMOKE, "blocks": 2},
            fixed={"share_blocks": shared},
            variants={"blocks": BLOCKS},
        )
        for table, shared in (("F.4", True), ("F.5", False))
    ),
    *few_shot.ENTRIES,
    *graphs.ENTRIES,
    *point_clouds.ENTRIES,
)
