"""Qwen2.5-VL's vision tower for one fixed, square grid, batched.

transformers packs images of any size into one sequence and permutes it by windows whose sizes it works
out anew at each call. Chips are all of one size: here the permutation and the windows are constants, and
images form a batch, so that the tower exports to ONNX and compiles. The weights are the tower's own; a
test checks that both give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from engine.errors import InputError


class FixedGridVision(nn.Module):
    """Patches of square images to merged visual tokens.

    Args:
        tower: transformers' Qwen2_5_VisionTransformerPretrainedModel; its weights are shared.
        side: patches a side.

    Raises:
        InputError: the side is not a multiple of the merge size.
    """

    order: Tensor
    raster: Tensor
    cos: Tensor
    sin: Tensor
    pad_index: Tensor
    unpad_index: Tensor
    present: Tensor

    def __init__(self, tower: Any, side: int) -> None:
        super().__init__()
        config = tower.config
        if side % config.spatial_merge_size:
            raise InputError(f"got {side} patches a side, expected a multiple of {config.spatial_merge_size}")
        self.tower = tower
        self.side = side
        self.tokens_side = side // config.spatial_merge_size
        self.full_blocks = frozenset(config.fullatt_block_indexes)
        unit = config.spatial_merge_size**2
        grid_thw = torch.tensor([[1, side, side]])
        window_index, bounds = get_vision_window_index(
            grid_thw, config.spatial_merge_size, config.window_size, config.patch_size
        )
        order = (window_index[:, None] * unit + torch.arange(unit)).reshape(-1)
        cos, sin = tower.rotary_pos_emb(
            torch.zeros(1), get_vision_position_ids(grid_thw, config.spatial_merge_size)
        )
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("raster", torch.argsort(window_index), persistent=False)
        self.register_buffer("cos", cos[order][None, :, None], persistent=False)
        self.register_buffer("sin", sin[order][None, :, None], persistent=False)
        self._register_windows(bounds)

    def _register_windows(self, bounds: Tensor) -> None:
        """Keep windows as rows of equal length; shorter ones are padded and masked."""
        bounds = torch.unique_consecutive(bounds)
        lengths = (bounds[1:] - bounds[:-1]).tolist()
        self.windows, self.window_length = len(lengths), max(lengths)
        self.ragged = min(lengths) != max(lengths)
        if self.ragged:
            index = torch.zeros(self.windows, self.window_length, dtype=torch.long)
            present = torch.zeros(self.windows, self.window_length, dtype=torch.bool)
            for row, (start, length) in enumerate(zip(bounds.tolist(), lengths, strict=False)):
                index[row, :length] = torch.arange(start, start + length)
                present[row, :length] = True
            back = present.reshape(-1).nonzero()[:, 0]
            self.register_buffer("pad_index", index.reshape(-1), persistent=False)
            self.register_buffer("unpad_index", back, persistent=False)
            self.register_buffer("present", present[None, :, None, None, :], persistent=False)

    def forward(self, patches: Tensor, modulate: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return visual tokens in raster order.

        Args:
            patches: one frame's patches in merge-unit order, [B, side^2, 3 * patch^2] (as
                ``engine.runtime.image.patches`` cuts them).
            modulate: changes what the merger joins, [B, tokens_side^2, merged patches, width], raster order.

        Returns:
            Tokens, [B, tokens_side^2, C].
        """
        tower = self.tower
        # Both frames of a still image are equal: adding up the two frames' weights does the same work once.
        weight = tower.patch_embed.proj.weight.sum(2).flatten(1)
        x = F.linear(patches[:, self.order], weight)
        for index, block in enumerate(tower.blocks):
            x = x + self._attention(block.attn, block.norm1(x), windowed=index not in self.full_blocks)
            x = x + block.mlp(block.norm2(x))
        merger = tower.merger
        if modulate is not None:
            units = x.reshape(x.shape[0], self.tokens_side**2, -1, x.shape[-1])[:, self.raster]
            x = modulate(units)
            return merger.mlp(merger.ln_q(x).reshape(x.shape[0], -1, merger.hidden_size))
        x = merger.mlp(merger.ln_q(x).reshape(x.shape[0], -1, merger.hidden_size))
        return x[:, self.raster]

    def _attention(self, attention: Any, x: Tensor, windowed: bool) -> Tensor:
        batch, length, width = x.shape
        heads = attention.num_heads
        q, k, v = attention.qkv(x).view(batch, length, 3, heads, width // heads).unbind(2)
        q, k = self._rotate(q), self._rotate(k)
        mask = None
        if windowed:
            if self.ragged:
                q, k, v = (t[:, self.pad_index] for t in (q, k, v))
                mask = self.present.expand(batch, -1, -1, -1, -1).reshape(-1, 1, 1, self.window_length)
            q, k, v = (t.reshape(-1, self.window_length, heads, width // heads) for t in (q, k, v))
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if mask is None:
            # written out: on a CPU the fused kernel's backward pass costs more than the rest of the tower
            score = q @ k.transpose(-1, -2) * (width // heads) ** -0.5
            out = score.softmax(-1).to(v.dtype) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.transpose(1, 2).reshape(batch, -1, width)
        if windowed and self.ragged:
            out = out[:, self.unpad_index]
        return attention.proj(out)

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return x * self.cos.to(x.dtype) + turned * self.sin.to(x.dtype)
