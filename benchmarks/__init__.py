"""Benchmarks: one command each, ratios from one run, results with the machine and the commit."""
