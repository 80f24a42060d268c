"""A backbone that gives features and a head that compares them with the classes it was trained on, as one module."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Recogniser"]


class Recogniser(nn.Module):
    r"""Features x = body(image), which are kept, and a classifier on them, which is needed for training only.

    .. math:: \text{model}(I, y) = L(x, y), \qquad \text{model}(I) = \text{logits}(x), \qquad x = \text{body}(I)

    In open-set recognition the people of the test are not those of the training: two images are compared by the cosine
    of their :meth:`features`. The classifier is registered last, so that ``where.output`` finds it.

    Args:
        body: takes images (B, C, H, W) and gives features (B, D), such as :func:`sphereface`.
        classifier: a head: called with features (B, D) and labels (B,) it gives the loss, and its method ``logits``
            takes the features alone and gives (B, num_classes), such as ``onsphere.AngularSoftmax``.

    Raises:
        ValueError: if the classifier has no ``logits``.

    Source: thesis, Figure 2.9 and section 2.3.6.

    >>> import torch
    >>> import onsphere as osp
    >>> from onsphere.models import sphereface
    >>> body = sphereface(4, features=8, in_channels=1, image_size=28, width=0.125)
    >>> model = Recogniser(body, osp.AngularSoftmax(8, 10, osp.CosFace(0.35)))
    >>> images, labels = torch.zeros(5, 1, 28, 28), torch.tensor([0, 1, 2, 3, 4])
    >>> model.features(images).shape, model(images).shape, model(images, labels).shape
    (torch.Size([5, 8]), torch.Size([5, 10]), torch.Size([]))
    """

    def __init__(self, body: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        if not callable(getattr(classifier, "logits", None)):
            raise ValueError(
                f"classifier is a {type(classifier).__name__} without a method logits(features): expected a head such "
                "as onsphere.AngularSoftmax(in_features, num_classes)"
            )
        self.body = body
        self.classifier = classifier

    def features(self, images: Tensor) -> Tensor:
        """What the body makes of the images: (B, D), not normalised."""
        x: Tensor = self.body(images)
        return x

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss, or the logits (B, num_classes) where there are no labels."""
        x = self.features(images)
        result: Tensor = self.classifier.logits(x) if labels is None else self.classifier(x, labels)  # type: ignore[operator]
        return result
