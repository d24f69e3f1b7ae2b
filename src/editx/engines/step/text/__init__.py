"""Words to ids and back: the text tokenizer, the trained-in prompts, audio tokens, and how long a result may be."""
