"""Open-set recognition, measured: do two images show the same identity, one that training never saw?

Everything here is numpy in float64 and starts from features, whatever made them.
"""

from onsphere.verification.bin_files import BinSet, BinSetError, read_bin, write_bin
from onsphere.verification.curves import Roc, auc, equal_error_rate, roc, tar_at_far
from onsphere.verification.folds import Verification, best_threshold, verify
from onsphere.verification.identification import rank1
from onsphere.verification.pairs import Pairs, consecutive_folds, random_pairs
from onsphere.verification.pairs_file import NamedPairs, PairsFileError, read_pairs
from onsphere.verification.similarity import joined, scores

__all__ = [
    "BinSet",
    "BinSetError",
    "NamedPairs",
    "Pairs",
    "PairsFileError",
    "Roc",
    "Verification",
    "auc",
    "best_threshold",
    "consecutive_folds",
    "equal_error_rate",
    "joined",
    "random_pairs",
    "rank1",
    "read_bin",
    "read_pairs",
    "roc",
    "scores",
    "tar_at_far",
    "verify",
    "write_bin",
]
