"""Labelled sets: images from files, from the hub or made up, in memory or decoded as needed; graphs, point clouds."""

from onsphere.data.augmentation import augment, centre_crop, crop_flip, flip, shift, then
from onsphere.data.embedded import digits, noise
from onsphere.data.episodes import Episodes, draw_episodes
from onsphere.data.files import Files
from onsphere.data.folders import image_folder
from onsphere.data.graphs import Graph, block_graph
from onsphere.data.hub import from_hub
from onsphere.data.idx import mnist
from onsphere.data.images import Data, Images
from onsphere.data.imbalance import imbalanced, linear_imbalance, one_class_imbalance
from onsphere.data.loading import load
from onsphere.data.modelnet_files import modelnet
from onsphere.data.open_set import OpenSet, identities, open_set, open_set_noise
from onsphere.data.parquet_files import parquet
from onsphere.data.planetoid_files import planetoid
from onsphere.data.point_clouds import rotate_jitter
from onsphere.data.policies import auto_augment, cutout, trivial_augment
from onsphere.data.surfaces import shapes
from onsphere.data.tensors import TensorData, Tensors

__all__ = [
    "Data",
    "Episodes",
    "Files",
    "Graph",
    "Images",
    "OpenSet",
    "TensorData",
    "Tensors",
    "augment",
    "auto_augment",
    "block_graph",
    "centre_crop",
    "crop_flip",
    "cutout",
    "digits",
    "draw_episodes",
    "flip",
    "from_hub",
    "identities",
    "image_folder",
    "imbalanced",
    "linear_imbalance",
    "load",
    "mnist",
    "modelnet",
    "noise",
    "one_class_imbalance",
    "open_set",
    "open_set_noise",
    "parquet",
    "planetoid",
    "rotate_jitter",
    "shapes",
    "shift",
    "then",
    "trivial_augment",
]
