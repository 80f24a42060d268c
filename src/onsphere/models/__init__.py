"""The papers' backbones: builder functions, one file a family; layers have the names that the papers' tables use."""

from onsphere.models.plain import mlp, plain_cnn
from onsphere.models.resnet import resnet20
from onsphere.models.vgg import vgg19_bn

__all__ = ["mlp", "plain_cnn", "resnet20", "vgg19_bn"]
