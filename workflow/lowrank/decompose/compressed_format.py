"""Names in a compressed model's directory, shared by what writes it and what loads it."""

FORMAT = "lowrank-compressed-2"
MANIFEST = "manifest.json"
FACTORS = "factors.safetensors"
LOSSES = "losses.csv"

ARRAYS = {
    "pairs": ("left", "right"),
    "pivoted": ("rows", "coefficients", "order"),
    "channels": ("kept",),
}
"""What a module has in each form; a pair may have a `core` as well, and any module a `shift`."""

WEIGHT, UPDATE = "weight", "update"
"""How a recovery changed a module that has no factors: by another weight, or by adding to it the
product of `update_left` and `update_right`."""
