"""The embedded family: three tiny language models of Python source and three heads between them.

`pico-little`, `pico-draft` and `pico-target` stand beside this file in the ordinary transformers layout,
the heads in the published one. `python -m heads.pico.make` trained all of it.
"""
