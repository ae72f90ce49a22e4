"""Tests of the statistics behind the report, and of comparisons."""
