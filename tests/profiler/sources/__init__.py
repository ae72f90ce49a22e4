"""Tests of the energy sources."""
