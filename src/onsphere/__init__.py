"""Deep learning on the hypersphere."""

__version__ = "0.1.0"
