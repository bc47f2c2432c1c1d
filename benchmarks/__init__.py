"""Benchmarks, started by hand or by `make bench`. They may use every public part of feedsvc.

Tests only check that benchmarks run, never how fast anything is.
"""
