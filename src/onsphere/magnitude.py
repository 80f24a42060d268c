"""Magnitude functions h of the norms."""
