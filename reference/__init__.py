"""What tests and benchmarks hold the package against: the paper's formulas in NumPy and PyTorch, made-up data."""
