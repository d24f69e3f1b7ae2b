"""Proves on a fresh Debian that the image's recipe and the README's commands work. Run by scripts/fresh.sh."""
