"""Benchmarks: how fast the library is, as ratios against a peer in one run."""
