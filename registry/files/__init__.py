"""Files as they lie on a disk, read within bounds: folders, JSON, safetensors, and their records."""
