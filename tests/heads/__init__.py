"""Tests of what needs tensors."""
