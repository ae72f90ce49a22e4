"""Joulery: energy, latency and answer quality of AI services, measured together."""

__all__ = ["__version__"]

__version__ = "0.1.0"
