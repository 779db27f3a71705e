"""The nano configuration: Qwen2.5-VL's own classes at a few million parameters, and its tokenizer.

What differs from Qwen2.5-VL, and why (measurements: docs/measurements.md):

- rotary base 10 for text, 100 for vision: at 1e6 neighbouring columns of a chip look alike to a head of
  64 channels, and coordinates are not learned;
- vision windows of 84 px, so that 9 x 9 merged tokens tile as 3 x 3 windows;
- each integer up to the chip's side is one token, and so is each fixed piece of an answer, so that a box
  is nine tokens; the text itself stays plain JSON. Everything else is byte-level BPE.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.describe import corpus
from engine.runtime.text import LABELS, QUESTIONS, SYSTEM

IMAGE_PX = 252
PATCH_PX = 14
BPE_PIECES = 512
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PIECES = (
    "[]", '[{"bbox_2d": [', ", ", *(f'], "label": "{label}"}}' for label in LABELS), ', {"bbox_2d": [', "]",
)  # fmt: skip


@dataclass(frozen=True)
class Tower:
    """The shape of the vision tower.

    Attributes:
        depth: blocks.
        inner: width of their gated products.
        whole: blocks that attend to the whole chip; the others, to windows.
    """

    depth: int
    inner: int
    whole: tuple[int, ...]


TOWER = Tower(4, 384, (1, 3))
LEAN = Tower(3, 256, (2,))  # two thirds of the operations: see ``engine.train.nano_lean``


def build_tokenizer() -> Any:
    """Train the tokenizer; the same pieces every time.

    Returns:
        A ``tokenizers.Tokenizer``: specials first, then BPE pieces, integers and answer pieces.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = [
        *corpus(),
        *QUESTIONS.values(),
        *(SYSTEM.format(sensor=f"Sentinel-1 {mode}", bands=bands, spacing_m=10)
          for mode in ("IW", "SM", "EW") for bands in ("VV VH", "VV", "VH", "HH HV", "HH")),
        "system user assistant",
    ]  # fmt: skip
    trainer = trainers.BpeTrainer(
        vocab_size=BPE_PIECES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words * 4, trainer)
    numbers = [str(value) for value in range(IMAGE_PX + 1)]
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in (*numbers, *PIECES)])
    return tokenizer


def number_ids(tokenizer: Any) -> list[int]:
    """Return the token ids of the integers 0 to IMAGE_PX (the digits' own are among the byte pieces)."""
    return [tokenizer.token_to_id(str(value)) for value in range(IMAGE_PX + 1)]


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the files from which transformers' AutoTokenizer loads the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def nano_config(tokenizer: Any, tower: Tower = TOWER) -> Any:
    """Return the Qwen2_5_VLConfig of nano for a tokenizer."""
    from transformers import Qwen2_5_VLConfig

    hidden, heads = 192, 3
    half = hidden // heads // 2
    section = 3 * half // 8
    ids = {name: tokenizer.token_to_id(name) for name in SPECIALS}
    text = {
        "vocab_size": (tokenizer.get_vocab_size() + 15) // 16 * 16,
        "hidden_size": hidden,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10.0,
            "mrope_section": [half - 2 * section, section, section],
        },
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": tower.depth,
        "hidden_size": 128,
        "intermediate_size": tower.inner,
        "num_heads": 4,
        "patch_size": PATCH_PX,
        "window_size": 84,
        "out_hidden_size": hidden,
        "fullatt_block_indexes": list(tower.whole),
        "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def build_nano(seed: int = 0, tower: Tower = TOWER) -> tuple[Any, Any]:
    """Return an untrained nano model (Qwen2_5_VLForConditionalGeneration) and its tokenizer."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(nano_config(tokenizer, tower)), tokenizer
