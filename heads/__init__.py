"""Decoding with acceptance prediction heads: everything that needs tensors."""
