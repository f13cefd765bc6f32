"""Training a head in three steps that can be broken off, and judging one: texts, features, weights."""
