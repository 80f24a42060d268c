"""A convolutional autoencoder whose latent layer can be looked at, and exchanged, by itself."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.models.initialization import he_normal
from onsphere.models.sizes import positive

__all__ = ["Autoencoder", "conv_autoencoder"]


class Autoencoder(nn.Module):
    r"""Images are encoded, go through one layer of inner products, and are decoded again.

    .. math:: \hat{I} = \text{decoder}(z), \qquad z = \text{latent}(\text{encoder}(I)), \qquad
        \text{model}(I, y) = \frac{1}{n} \sum_i (\hat{I}_i - I_i)^2

    Args:
        encoder: from images (N, C, H, W) to what the latent layer reads.
        latent: one linear layer or convolution, whose outputs are the latent space.
        decoder: from the latent space to images (N, C, H, W).

    >>> import torch
    >>> layers = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.ConvTranspose2d(2, 1, 3)
    >>> Autoencoder(*layers)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(self, encoder: nn.Module, latent: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The rebuilt images, or, for a training loop that hands labels over, their mean squared error."""
        rebuilt: Tensor = self.decoder(self.latent(self.encoder(images)))
        return rebuilt if labels is None else F.mse_loss(rebuilt, images)


def conv_autoencoder(
    widths: tuple[int, ...] = (16, 32), *, latent: int = 16, in_channels: int = 1, image_size: int = 28
) -> Autoencoder:
    """3 x 3 convolutions of stride 2 down to the latent space, and transposed ones back.

    ReLUs follow all of them but ``latent``, which has no bias either, so that its outputs are inner products, and the
    last one of the decoder. Each layer of stride 2 halves height and width, rounding up.

    Args:
        widths: filters of ``encoder.conv1``, ``encoder.conv2``, ...; the decoder has them in reverse.
        latent: filters of ``latent``.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels.

    Raises:
        ValueError: if a size is below 1 or there is no width.

    Source: our own, for Figure 1.1 of the thesis, which does not describe its "toy" autoencoder.

    >>> import torch
    >>> model = conv_autoencoder((4, 8), latent=6)
    >>> images = torch.zeros(5, 1, 28, 28)
    >>> model.latent(model.encoder(images)).shape, model(images).shape
    (torch.Size([5, 6, 4, 4]), torch.Size([5, 1, 28, 28]))
    """
    positive(widths=widths, latent=latent, in_channels=in_channels, image_size=image_size)
    if not widths:
        raise ValueError("widths=(): expected the filters of one convolution or more")
    channels, sides = [in_channels, *widths, latent], [image_size]
    encoder: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (read, filters) in enumerate(pairwise(channels), start=1):
        sides.append(-(-sides[-1] // 2))
        if i <= len(widths):
            encoder[f"conv{i}"] = nn.Conv2d(read, filters, 3, stride=2, padding=1)
            encoder[f"relu{i}"] = nn.ReLU(inplace=True)
    decoder: OrderedDict[str, nn.Module] = OrderedDict()
    last = len(channels) - 1
    for i in range(1, last + 1):
        read, filters, side, wanted = channels[-i], channels[-i - 1], sides[-i], sides[-i - 1]
        extra = wanted - (2 * side - 1)
        decoder[f"deconv{i}"] = nn.ConvTranspose2d(read, filters, 3, stride=2, padding=1, output_padding=extra)
        if i < last:
            decoder[f"relu{i}"] = nn.ReLU(inplace=True)
    inner_products = nn.Conv2d(widths[-1], latent, 3, stride=2, padding=1, bias=False)
    model = Autoencoder(nn.Sequential(encoder), inner_products, nn.Sequential(decoder))
    he_normal(model)
    return model
