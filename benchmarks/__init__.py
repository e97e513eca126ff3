"""Measures tablenodes beside other ways to ask a model once for every row: ``python -m benchmarks``."""
