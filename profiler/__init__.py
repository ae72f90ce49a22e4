"""Measure: energy sources, counters, windows, attribution, latency and answer quality."""
