"""Makes checkpoints with seeded random weights in the published layout, for tests and benchmarks."""
