"""Tests of the simulated node: its truth, and the files that it shows."""
