"""Tests of the validation against simulated nodes."""
