"""Which chain, which lengths, on this machine: what was measured, and what may be expected of it. No tensors."""
