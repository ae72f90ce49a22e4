"""The report people look at: one self-contained page, and a summary in Markdown."""

from .page import write

__all__ = ["write"]
