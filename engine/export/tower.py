"""The vision tower and TLM as they are exported: the same numbers as the model, in fewer passes over memory.

On a CPU half of the tower's time goes into what is no matrix product. Here rows of all images form one
matrix, so that a bias is added by the product itself; queries and keys come out of their products with the
halves that rotate into each other apart, so that rotation is six passes without moving anything; norms are
written as runtimes recognise them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.fusar import FusarGpt


class VisionGraph(nn.Module):
    """Patches and priors to modulated visual tokens; see ``FusarGpt.visual_tokens``."""

    order: Tensor
    raster: Tensor

    def __init__(self, model: FusarGpt) -> None:
        super().__init__()
        vision = model.vision
        self.side = vision.tokens_side
        self.tlm = model.tlm
        weight = vision.tower.patch_embed.proj.weight.detach()
        self.embedding = nn.Parameter(weight.sum(2).flatten(1), requires_grad=False)
        self.register_buffer("order", vision.order, persistent=False)
        self.register_buffer("raster", vision.raster, persistent=False)
        self.blocks = nn.ModuleList(
            _Block(block, vision, windowed=index not in vision.full_blocks)
            for index, block in enumerate(vision.tower.blocks)
        )
        merger = vision.tower.merger
        self.norm = _Norm(merger.ln_q)
        self.merged = int(merger.hidden_size)
        self.mlp = merger.mlp

    def forward(self, patches: Tensor, vectors: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Return visual tokens, [B, tokens, C]."""
        batch, length, size = patches.shape
        x = F.linear(patches.reshape(-1, size), self.embedding)
        x = x.reshape(batch, length, -1)[:, self.order].reshape(batch * length, -1)
        for block in self.blocks:
            x = block(x, batch)
        x = self.mlp(self.norm(x).reshape(-1, self.merged))
        x = x.reshape(batch, self.side**2, -1)[:, self.raster]
        return self.tlm.placed(self.tlm(x, vectors, positions, mask, (self.side, self.side)))


class _Block(nn.Module):
    """One block of the tower on the rows of all images, [B * L, C]."""

    cos: Tensor
    sin: Tensor

    def __init__(self, block: Any, vision: Any, windowed: bool) -> None:
        super().__init__()
        attention, mlp = block.attn, block.mlp
        self.heads = int(attention.num_heads)
        self.norm1, self.norm2 = _Norm(block.norm1), _Norm(block.norm2)
        self.first, self.second, self.value = _rearranged(attention.qkv, self.heads)
        self.out = attention.proj
        self.gate, self.up, self.down = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.activation = mlp.act_fn
        half = vision.cos.shape[-1] // 2
        for name in ("cos", "sin"):  # [1, L, 1, D]; both halves are equal
            table = getattr(vision, name)[..., :half].reshape(1, -1, half)
            self.register_buffer(name, table.repeat(1, 1, 2 * self.heads), persistent=False)
        self.window = int(vision.window_length) if windowed else 0
        if windowed and vision.ragged:
            for name in ("pad_index", "unpad_index", "present"):
                self.register_buffer(name, getattr(vision, name), persistent=False)
        else:
            self.pad_index = None

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """Return the block's output, [B * L, C]."""
        x = x + self.out(self._attend(self.norm1(x), batch))
        normed = self.norm2(x)
        return x + self.down(self.activation(self.gate(normed)) * self.up(normed))

    def _attend(self, x: Tensor, batch: int) -> Tensor:
        rows, width = x.shape
        # Products of their own: splitting one's result costs more than it saves.
        first, second, v = (
            each(x).reshape(batch, -1, width) for each in (self.first, self.second, self.value)
        )
        turned = (first * self.cos - second * self.sin, second * self.cos + first * self.sin)
        length = self.window or int(self.cos.shape[1])
        both = torch.stack(turned, dim=2)  # [B, L, half, (q and k) * heads * D / 2]
        mask = None
        if self.pad_index is not None:
            both, v = both[:, self.pad_index], v[:, self.pad_index]
            mask = self.present.expand(batch, -1, -1, -1, -1).reshape(-1, 1, 1, length)
        both = both.reshape(-1, length, 2, 2, self.heads, width // self.heads // 2)
        q, k = both.permute(3, 0, 4, 1, 2, 5).flatten(4).unbind(0)
        v = v.reshape(-1, length, self.heads, width // self.heads).transpose(1, 2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.transpose(1, 2).reshape(batch, -1, width)
        if self.pad_index is not None:
            out = out[:, self.unpad_index]
        return out.reshape(rows, width)


class _Norm(nn.Module):
    """RMS norm in the form that runtimes fuse to one operator."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.epsilon = float(norm.variance_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rms(x) * weight."""
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def _rearranged(qkv: Any, heads: int) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """Return products: first halves of all heads of queries and keys, their second halves, values."""
    width = qkv.weight.shape[0] // 3
    index = torch.arange(2 * width).reshape(2, heads, 2, width // heads // 2).permute(2, 0, 1, 3).reshape(-1)
    parts = (*index.chunk(2), torch.arange(2 * width, 3 * width))
    first, second, value = (_linear(qkv.weight.detach()[part], qkv.bias.detach()[part]) for part in parts)
    return first, second, value


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear
