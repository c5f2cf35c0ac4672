"""Names in a compressed model's directory, shared by what writes it and what loads it."""

FORMAT = "lowrank-compressed-2"
MANIFEST = "manifest.json"
FACTORS = "factors.safetensors"
