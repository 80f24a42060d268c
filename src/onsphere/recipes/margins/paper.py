"""The numbers of the thesis's chapter 2, section 5.5.2 and appendices A and D, and of the MMA paper's Table 7."""

from __future__ import annotations

from collections.abc import Mapping

# Errors in percent, by row.
TABLE_2_2 = {"softmax": 0.40, "l-softmax-m2": 0.32, "l-softmax-m3": 0.31, "l-softmax-m4": 0.31}
TABLE_2_3 = {  # by whether the images are augmented
    False: {"softmax": 9.05, "l-softmax-m2": 7.73, "l-softmax-m3": 7.66, "l-softmax-m4": 7.58},
    True: {"softmax": 6.50, "l-softmax-m2": 6.01, "l-softmax-m3": 5.94, "l-softmax-m4": 5.92},
}
TABLE_2_4 = {"softmax": 32.74, "l-softmax-m2": 29.95, "l-softmax-m3": 29.87, "l-softmax-m4": 29.53}

# From here on by metric: accuracies of verification on LFW, YTF, ...; rank1 and tar_at_far_1e-06 on MegaFace with a
# million distractors.
Numbers = Mapping[str, Mapping[str, float]]


def _lfw(**rows: float) -> Numbers:
    return {row.replace("_", "-"): {"lfw": accuracy} for row, accuracy in rows.items()}


TABLE_2_5: Numbers = _lfw(
    softmax=96.53, softmax_contrastive=97.31, l_softmax_m2=97.81, l_softmax_m3=98.27, l_softmax_m4=98.71
)
TABLE_2_8: Numbers = {
    "softmax": {"lfw": 97.88, "ytf": 93.1},
    "sphereface-m1": {"lfw": 97.90, "ytf": 93.2},
    "sphereface-m2": {"lfw": 98.40, "ytf": 93.8},
    "sphereface-m3": {"lfw": 99.25, "ytf": 94.4},
    "sphereface-m4": {"lfw": 99.42, "ytf": 95.0},
}
TABLE_2_9: Numbers = {
    "softmax": {"lfw": 97.88, "ytf": 93.1},
    "softmax-contrastive": {"lfw": 98.78, "ytf": 93.5},
    "triplet": {"lfw": 98.70, "ytf": 93.4},
    "l-softmax-m4": {"lfw": 99.10, "ytf": 94.0},
    "softmax-centre": {"lfw": 99.05, "ytf": 94.4},
    "sphereface-m4": {"lfw": 99.42, "ytf": 95.0},
}
TABLE_2_10: Numbers = {
    "softmax": {"rank1": 54.855, "tar_at_far_1e-06": 65.925},
    "softmax-contrastive": {"rank1": 65.219, "tar_at_far_1e-06": 78.865},
    "triplet": {"rank1": 64.797, "tar_at_far_1e-06": 78.322},
    "l-softmax-m4": {"rank1": 67.128, "tar_at_far_1e-06": 80.423},
    "softmax-centre": {"rank1": 65.494, "tar_at_far_1e-06": 80.146},
    "sphereface-m4": {"rank1": 72.729, "tar_at_far_1e-06": 85.561},
}


def _plus(*lines: tuple[float, float, float, float]) -> Numbers:
    """Lines of m = 1 to 4: LFW without and with MHE, MegaFace without and with."""
    plain = {f"sphereface-m{m}": {"lfw": line[0], "rank1": line[2]} for m, line in enumerate(lines, start=1)}
    plus = {f"sphereface-m{m}-mhe": {"lfw": line[1], "rank1": line[3]} for m, line in enumerate(lines, start=1)}
    return {**plain, **plus}


TABLE_5_8 = _plus(
    (96.35, 97.15, 39.12, 45.90),
    (98.87, 99.05, 60.48, 68.51),
    (98.97, 99.13, 63.71, 66.89),
    (99.26, 99.32, 70.68, 71.30),
)
TABLE_5_9 = _plus(
    (96.93, 97.47, 41.07, 45.55),
    (99.03, 99.22, 62.01, 67.07),
    (99.25, 99.35, 69.69, 70.89),
    (99.42, 99.47, 72.72, 73.03),
)
TABLE_5_10: Numbers = {
    "softmax": {"lfw": 97.88, "rank1": 54.86},
    "softmax-contrastive": {"lfw": 98.78, "rank1": 65.22},
    "triplet": {"lfw": 98.70, "rank1": 64.80},
    "l-softmax-m4": {"lfw": 99.10, "rank1": 67.13},
    "softmax-centre": {"lfw": 99.05, "rank1": 65.49},
    "cosface": {"lfw": 99.10, "rank1": 75.10},
    "sphereface-m4": {"lfw": 99.42, "rank1": 72.72},
    "sphereface-m4-mhe": {"lfw": 99.47, "rank1": 73.03},
}
SECTION_D_6: Numbers = _lfw(cosface=99.26, cosface_mhe=99.37)
TABLE_D_7: Numbers = {
    row: {"tar_at_far_1e-06": rate}
    for m, rates in enumerate(((42.46, 52.02), (71.79, 80.94), (76.34, 80.58), (82.56, 83.39)), start=1)
    for row, rate in zip((f"sphereface-m{m}", f"sphereface-m{m}-mhe"), rates, strict=True)
}
TABLE_D_8: Mapping[str, Numbers] = {  # by the set trained on
    "imdb-face": {"sphereface-m4": {"lfw": 99.53, "rank1": 72.89}, "sphereface-m4-mhe": {"lfw": 99.57, "rank1": 73.15}},
    "ms-celeb": {"sphereface-m4": {"lfw": 99.48, "rank1": 73.93}, "sphereface-m4-mhe": {"lfw": 99.5, "rank1": 74.16}},
    "casia": {"sphereface-m4": {"lfw": 99.27, "rank1": 70.68}, "sphereface-m4-mhe": {"lfw": 99.32, "rank1": 71.30}},
}
TABLE_A_1: Numbers = {
    "A": {"lfw": 95.13, "afs": 0.3477},
    "B": {"lfw": 96.37, "afs": 0.2835},
    "C": {"lfw": 96.40, "afs": 0.2815},
    "D": {"lfw": 96.63, "afs": 0.2462},
    "E": {"lfw": 97.67, "afs": 0.2277},
    "F": {"lfw": 97.82, "afs": 0.1791},
    "G": {"lfw": 98.20, "afs": 0.1709},
}
TABLE_A_2: Mapping[int, Numbers] = {  # by the number of convolutions
    4: {"sphereface-m4": {"rank1": 57.529, "tar_at_far_1e-06": 68.547}},
    10: {"sphereface-m4": {"rank1": 65.335, "tar_at_far_1e-06": 78.069}},
    20: {"sphereface-m4": {"rank1": 69.623, "tar_at_far_1e-06": 83.159}},
    36: {"sphereface-m4": {"rank1": 71.257, "tar_at_far_1e-06": 84.052}},
    64: {
        "softmax": {"rank1": 54.855, "tar_at_far_1e-06": 65.925},
        "sphereface-m4": {"rank1": 72.729, "tar_at_far_1e-06": 85.561},
    },
}
MMA_TABLE_7: Numbers = {
    "arcface": {"lfw": 99.35, "cfp_fp": 95.30, "agedb_30": 94.62},
    "arcface-mma": {"lfw": 99.45, "cfp_fp": 95.59, "agedb_30": 95.15},
}
