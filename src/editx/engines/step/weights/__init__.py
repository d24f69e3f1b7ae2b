"""Checkpoints: which files a variant needs, and how their tensors get into preallocated parameters."""
