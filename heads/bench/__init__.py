"""Ways to decode one model's text, run side by side on the same prompts: what each costs, and what it does."""
