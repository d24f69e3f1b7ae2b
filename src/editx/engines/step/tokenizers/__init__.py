"""The two audio tokenizers: vq02 hears words, vq06 hears sound."""
