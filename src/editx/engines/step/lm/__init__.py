"""The Step1 language model: its decoder, its cache, how it draws audio tokens, and the scheduler that serves it."""
