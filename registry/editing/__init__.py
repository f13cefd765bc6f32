"""Catalog files changed in place, and what may be taken into them: heads that others hold."""
