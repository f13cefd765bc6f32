"""Tokenizers by content, read without any tokenizer library."""
