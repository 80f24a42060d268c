"""Class-imbalance learning: the thesis's Tables 5.7 and D.6 on CIFAR, and Figure 5.4 on MNIST."""

from __future__ import annotations

from functools import partial
from typing import Literal

from onsphere import data, models
from onsphere.recipes.image_sets import CIFAR, MNIST, FewOf, imbalanced
from onsphere.recipes.mhe.cifar import Classes
from onsphere.recipes.mhe.methods import METHODS, terms, weights
from onsphere.recipes.mhe.paper import CLASS_0, IMBALANCED
from onsphere.recipes.mhe.training import by_steps, cifar_milestones, top1
from onsphere.recipes.observations import class_accuracies, drawn_features, minimum_angles
from onsphere.recipes.regularization import regularization
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe


def imbalanced_cifar(
    dataset: str | None = None,
    row: Literal["none", "orthonormal", "mhe-s2", "half-mhe-s2", "a-mhe-s2", "half-a-mhe-s2"] = "half-mhe-s2",
    classes: Classes = 10,
    imbalance: Literal["single", "multiple"] = "single",
    coefficient: float | None = None,
    output_coefficient: float | None = None,
    widths: tuple[int, int, int] = (64, 128, 256),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 42_500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Tables 5.7 and D.6 of the thesis: CNN-9 on CIFAR with few images of some classes.

    single: a tenth of the images of class 0 (CIFAR-10) or of the classes 0 to 9 (CIFAR-100). multiple: 500 (c + 1)
    images of class c (CIFAR-10) or 5 (c + 1) (CIFAR-100). The test images are all there are. The result holds the
    accuracy on every class; on CIFAR-10's class 0 it is 100 less the table's Err. (S).

    Args:
        dataset: CIFAR-10 or CIFAR-100 as a folder (parquet files in Hugging Face layout) or a name on the hub; `noise`
            for random images, to try the steps; null for the hub's uoft-cs/cifar10 or uoft-cs/cifar100.
        row: which regularization: none, orthonormal (5.3.7), mhe-s2 (eq. 5.4), half-mhe-s2 (half space, 5.3.4),
            a-mhe-s2 (angular, eq. 5.5), half-a-mhe-s2.
        classes: 10 for CIFAR-10 (Table 5.7), 100 for CIFAR-100 (Table D.6).
        imbalance: single or multiple, see above.
        coefficient: weight on the hidden layers; null for the thesis's: full space 10, half space 1, orthonormal 1e-5.
        output_coefficient: weight on the output layer; null for the thesis's: MHE 1, orthonormal 1e-5.
        widths: channels of the three stages.
        train_images: training images kept before the classes are thinned out, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 20k, 30k and 37.5k of 42.5k, at the
            same shares of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> recipe = imbalanced_cifar("cifar10", "mhe-s2")
    >>> recipe.paper
    {'top1': 92.02, 'class_top1.0': 74.2}
    """
    settings = dict(locals())
    images = CIFAR[classes]
    settings["dataset"] = source = dataset or str(images.hub)
    settings["milestones"] = cifar_milestones(milestones, steps)
    check_positive(train_images=train_images, test_images=test_images)
    given = weights(row, "everywhere", coefficient, output_coefficient)
    settings |= {"coefficient": given.coefficient, "output_coefficient": given.output_coefficient}
    paper = top1(IMBALANCED[classes, imbalance][row])
    if (classes, imbalance) == (10, "single"):
        paper["class_top1.0"] = round(100 - CLASS_0[row], 2)
    full = (widths, train_images, test_images) == ((64, 128, 256), None, None)
    as_published = full and given == weights(row, "everywhere", None, None)
    counts = FewOf(tuple(range(classes // 10))) if imbalance == "single" else data.linear_imbalance
    load = partial(imbalanced, images, source, counts, train_images, test_images)
    table = "5.7" if classes == 10 else "D.6"
    return Recipe(
        name=f"thesis-table{table}-cifar{classes}",
        row=METHODS[row].label,
        source=f"thesis, Table {table}, {imbalance} class imbalance",
        model=partial(models.plain_cnn, 9, widths=widths, num_classes=classes, image_size=32),
        data=load,
        augment=data.augment,
        regularizer=regularization(*terms(row, given)),
        observe=minimum_angles,
        final=partial(class_accuracies, data=load),
        paper=paper if as_published else {},
        settings=settings,
        **by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )


def imbalanced_mnist(
    dataset: str = "ylecun/mnist",
    row: Literal["none", "mhe-s2"] = "mhe-s2",
    coefficient: float | None = None,
    zeros: int = 100,
    widths: tuple[int, int, int] = (64, 128, 256),
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 2500,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = 1.0,
) -> Recipe:
    """Figure 5.4 of the thesis: MNIST with 100 images of digit 0, features in the plane; twenty CPU minutes a row.

    A 6-layer plain CNN with batch normalization whose last hidden layer has two neurons and no ReLU, with and without
    MHE on the output layer. The thesis says that accuracy on all test images rises from 88.5 to 98 per cent, and does
    not say how it was trained; steps, learning rate and clipping here are what a CPU can do. The result holds the
    features of 200 training and 200 test images of every digit, of all training images and not only of those that were
    kept, the neurons of the classifier, and the accuracy on every digit; the report draws them.

    Args:
        dataset: MNIST as a folder (four IDX files, or parquet files in Hugging Face layout) or a name on the hub;
            `noise` for random images, to try the steps.
        row: which regularization of the output layer: none, mhe-s2 (eq. 5.4).
        coefficient: weight on the output layer; null for the thesis's: 1.
        zeros: training images of digit 0 that are kept.
        widths: channels of the three stages.
        train_images: training images kept before the zeros are thinned out, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for one half and three quarters of the
            steps.
        clip: the most that the norm of all gradients may be, in both rows; null to leave it. Of ten random directions
            in the plane two are close, and without this the force between them throws the weights so far that the row
            with MHE stays at chance.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that row none would ignore.

    >>> imbalanced_mnist("mnist", "mhe-s2").paper
    {'top1': 98.0}
    """
    settings = dict(locals())
    settings["milestones"] = milestones_or(milestones, (2, 3), of=4, to=steps)
    check_positive(train_images=train_images, test_images=test_images, zeros=zeros)
    given = weights(row, "output", coefficient, None)
    settings["coefficient"] = given.output_coefficient
    full = (zeros, train_images, test_images) == (100, None, None)
    as_published = full and given == weights(row, "output", None, None)
    load = partial(imbalanced, MNIST, dataset, FewOf((0,), zeros), train_images, test_images)
    network = partial(models.plain_cnn, 6, widths=widths, in_channels=1, num_classes=10, image_size=28)
    return Recipe(
        name="thesis-figure5.4-mnist",
        row=METHODS[row].label,
        source="thesis, section 5.5.1 and Figure 5.4",
        model=partial(network, fc=2, fc_relu=False),
        data=load,
        regularizer=regularization(*terms(row, given)),
        observe=minimum_angles,
        final=partial(drawn_features, data=load, full=partial(MNIST.load, dataset, train_images, test_images)),
        paper={"top1": 98.0 if row == "mhe-s2" else 88.5} if as_published else {},
        clip=clip,
        settings=settings,
        **by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )
