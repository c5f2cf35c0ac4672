"""Gemma 3, the text model alone: Gemma 2's norms, and one on each query head and each key head.

Of six layers five have a window (`layer_types`), and these have rotary embeddings of their own.
"""

from dataclasses import replace

from lowrank.space.families import gemma2

FAMILY = replace(gemma2.FAMILY, head_norms=2)
