"""stormda: draw an analysis ensemble from the Bayesian posterior of a generative weather model."""

__all__ = ["__version__"]

__version__ = "0.1.0"
