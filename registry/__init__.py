"""specreg: a registry of acceptance prediction heads (no torch at import)."""
