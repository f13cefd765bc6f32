"""Downloading, against a hub on this machine that can be told to misbehave."""
