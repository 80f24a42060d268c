"""Points on a sphere, as far apart as possible: search, look at what is proved, save, and use them as class prototypes.

Run it: python examples/spherical_code.py --classes 20 --dimensions 4 (a few seconds).
"""

import argparse
import math

import torch

import onsphere as osp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--dimensions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--file", default="prototypes.npy")
    given = parser.parse_args()

    code = osp.codes.solve(given.classes, given.dimensions, budget_s=given.seconds)
    print(f"minimum angle {math.degrees(code.min_angle):.6f} degrees, {len(code.contacts)} pairs have it")
    print(f"proved for these very coordinates: at least {code.certificate:.16f} radians")
    if code.best_known is not None:
        print(f"best known: {math.degrees(code.best_known.angle):.6f} degrees, {code.best_known.status}")
    osp.codes.save(code.points, given.file)

    # A classifier whose class vectors are fixed and as far apart as can be.
    classifier = osp.SphereLinear(given.dimensions, given.classes)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor(code.points))
    classifier.weight.requires_grad_(False)
    features = torch.randn(8, given.dimensions)
    print(f"{given.file} written; cosines of 8 features with the classes: {tuple(classifier(features).shape)}")


if __name__ == "__main__":
    main()
