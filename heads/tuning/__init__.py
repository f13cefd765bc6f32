"""Lengths and thresholds found by running a chain, and kept for this machine."""
