"""Benchmarks: each measures us and a reference in one run, and reports the ratio."""
