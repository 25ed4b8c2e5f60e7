"""Short stand-ins for what was asked: prompts are long, and a memory holds thousands of them."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from attribot.scoring.batching import TokenIds


def ids_key(token_ids: TokenIds) -> bytes:
    """16 bytes that stand for token ids."""
    return bytes_key(np.asarray(token_ids, dtype=np.int64).tobytes())


def bytes_key(content: bytes) -> bytes:
    """16 bytes that stand for others."""
    return blake2b(content, digest_size=16).digest()
