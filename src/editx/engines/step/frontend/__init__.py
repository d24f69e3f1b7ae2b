"""What the decoder is told of a voice: its log-mel and its speaker embedding."""
