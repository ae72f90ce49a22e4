"""The kubernetes executor: a Deployment per trial, and its energy from the exporters."""

__all__: list[str] = []
