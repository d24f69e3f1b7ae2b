"""From a decoded clip to what the tokenizers and the speaker front end listen to."""
