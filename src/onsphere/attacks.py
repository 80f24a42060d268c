"""Attacks on a classifier: images changed a little so that it errs."""
