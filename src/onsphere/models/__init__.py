"""The papers' backbones: builder functions, one file a family; layers have the names that the papers' tables use.

Of those that give classes the output layer is called ``classifier`` and comes last. Those made for open-set recognition
(``arcface_resnet50``, ``lsoftmax_cnn``, ``sphereface``) give features, as the decoupled ones do with
``num_classes=None``, and ``Recogniser`` puts a head behind them, again as ``classifier``. Models can be moved to
``channels_last`` and compiled.
"""

from onsphere.models.arcface import arcface_resnet50
from onsphere.models.autoencoder import Autoencoder, conv_autoencoder
from onsphere.models.cnn4 import cnn4
from onsphere.models.decoupled_cnn import decoupled_cnn, decoupled_mnist_cnn
from onsphere.models.decoupled_resnet import decoupled_resnet18, decoupled_resnet32, modified_resnet18
from onsphere.models.densenet import densenet, densenet_40_12
from onsphere.models.gcn import GCN, gcn
from onsphere.models.lsoftmax import lsoftmax_cnn
from onsphere.models.plain import mlp, plain_cnn, plain_cnn10
from onsphere.models.pointnet import pointnet
from onsphere.models.recogniser import Recogniser
from onsphere.models.resnet import resnet20, resnet32, resnet56, wide_resnet32
from onsphere.models.resnet_imagenet import resnet18, resnet34, resnet50
from onsphere.models.sphereface import sphereface
from onsphere.models.spherenet import spherenet_cnn
from onsphere.models.vgg import vgg16_bn, vgg19_bn
from onsphere.models.wide_resnet import wide_resnet, wrn_16_8, wrn_28_10

__all__ = [
    "GCN",
    "Autoencoder",
    "Recogniser",
    "arcface_resnet50",
    "cnn4",
    "conv_autoencoder",
    "decoupled_cnn",
    "decoupled_mnist_cnn",
    "decoupled_resnet18",
    "decoupled_resnet32",
    "densenet",
    "densenet_40_12",
    "gcn",
    "lsoftmax_cnn",
    "mlp",
    "modified_resnet18",
    "plain_cnn",
    "plain_cnn10",
    "pointnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "sphereface",
    "spherenet_cnn",
    "vgg16_bn",
    "vgg19_bn",
    "wide_resnet",
    "wide_resnet32",
    "wrn_16_8",
    "wrn_28_10",
]
