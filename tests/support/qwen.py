"""Qwen2.5-VL's own tokenizer, made of the real vocabulary and merges among the test data."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

# Qwen2.5-VL adds these behind Qwen2's three, in this order.
_MORE = (
    "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>",
    "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip


@lru_cache(maxsize=1)
def qwen_tokenizer(real_data: Path) -> Any:
    """Return the ``tokenizers.Tokenizer``."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_data / "qwen").backend_tokenizer
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _MORE])
    return tokenizer
