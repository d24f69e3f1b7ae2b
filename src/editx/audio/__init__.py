"""Sound as arrays: clips, files, sample rates."""
