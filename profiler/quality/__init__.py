"""Streaming and batch quality metrics, one file per task."""
