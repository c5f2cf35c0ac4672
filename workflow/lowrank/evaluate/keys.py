"""The key of an answer: a digest of what was asked."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> bytes:
    """Return a key of 16 bytes for JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:16]
