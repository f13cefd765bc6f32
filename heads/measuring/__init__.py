"""Forwards, rounds and texts of a chain, measured on this machine: what a plan of how to run it rests on."""
