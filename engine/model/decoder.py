"""The decoder as one graph for prefill and steps, over the weights of Qwen2.5-VL's language model.

Caches are the caller's: fixed buffers [B, H, S, D], into which the graph writes new keys and values at
``past_len`` (ONNX ``TensorScatter``, opset 24). The mask needs ``past_len`` alone: column s is visible to
token t where s <= past_len + t, so that right padding is hidden by causality and what it writes lies
beyond the next ``past_len``. The last layer is computed for the one selected token only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    """Tokens, visual tokens and caches to the next token's logits.

    Args:
        base: transformers' Qwen2_5_VLForConditionalGeneration; weights are shared except those of the
            attention's input projections, which are copied.
    """

    rotation: Tensor

    def __init__(self, base: Any) -> None:
        super().__init__()
        config = base.config.text_config
        language_model = base.model.language_model
        self.embedding = language_model.embed_tokens
        self.norm = _Norm(language_model.norm)
        self.head = base.lm_head
        layers = list(language_model.layers)
        self.layers = nn.ModuleList(_Layer(layer, config, last=layer is layers[-1]) for layer in layers)
        self.kv_heads = int(config.num_key_value_heads)
        self.head_dim = int(config.hidden_size // config.num_attention_heads)
        self.register_buffer("rotation", _rotation(config, self.head_dim), persistent=False)

    def forward(
        self,
        input_ids: Tensor,
        visual: Tensor,
        visual_index: Tensor,
        position_ids: Tensor,
        past_len: Tensor,
        new_len: Tensor,
        past: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Run new tokens against the caches.

        Args:
            input_ids: right-padded, [B, T].
            visual: visual tokens of all rows, [N, C], N >= 1.
            visual_index: row of ``visual`` that takes a token's place, -1 for text, [B, T].
            position_ids: M-RoPE positions (time, row, column), [3, B, T].
            past_len: columns of the cache in use, [B]; past_len + T <= S for every row.
            new_len: tokens of a row that are not padding, [B]; 0 for an idle row.
            past: keys and values of layer 0, of layer 1, ..., [B, H, S, D] each; finite everywhere.

        Returns:
            Logits in float32 at token new_len - 1, [B, V], then the caches with the new columns.
        """
        x = self.embedding(input_ids)
        taken = visual[visual_index.clamp(min=0)].to(x.dtype)
        x = torch.where((visual_index >= 0).unsqueeze(-1), taken, x)
        # A sum over the three axes instead of a matrix product, which hardware may round to TF32.
        angles = (position_ids.permute(1, 2, 0).unsqueeze(-1).float() * self.rotation).sum(2).unsqueeze(1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        columns = torch.arange(past[0].shape[2], device=x.device)
        last = past_len.unsqueeze(1) + torch.arange(input_ids.shape[1], device=x.device)
        mask = columns <= last.unsqueeze(-1)
        present: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            keys, values = past[2 * index], past[2 * index + 1]
            x, keys, values = layer(x, cos, sin, mask, past_len, new_len, keys, values)
            present += [keys, values]
        return (self.head(self.norm(x))[:, 0].float(), *present)


class _Layer(nn.Module):
    """One decoder layer; the last one answers for the selected token only."""

    in_place = False  # whether the caches that are given are written themselves

    def __init__(self, layer: Any, config: Any, last: bool) -> None:
        super().__init__()
        self.last = last
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.head_dim = int(config.hidden_size // config.num_attention_heads)
        self.input_norm = _Norm(layer.input_layernorm)
        self.output_norm = _Norm(layer.post_attention_layernorm)
        self.mlp = layer.mlp
        self.output = layer.self_attn.o_proj
        attention = layer.self_attn
        # 1 / sqrt(D) goes into the queries' weights.
        self.query = _joined([attention.q_proj], scale=self.head_dim**-0.5)
        self.key_value = _joined([attention.k_proj, attention.v_proj])

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        past_len: Tensor,
        new_len: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the layer's output ([B, T, C]; the last layer's [B, 1, C]) and its caches."""
        normed = self.input_norm(x)
        k, v = self._split(self.key_value(normed)).chunk(2, dim=1)
        keys = scatter(keys, _rotate(k, cos, sin), past_len, self.in_place)
        values = scatter(values, v, past_len, self.in_place)
        if self.last:
            row = (new_len - 1).clamp(min=0).unsqueeze(1)
            x, normed = _select(x, row, 1), _select(normed, row, 1)
            cos, sin = _select(cos, row.unsqueeze(1), 2), _select(sin, row.unsqueeze(1), 2)
            mask = _select(mask, row, 1)
        q = _rotate(self._split(self.query(normed)), cos, sin)
        x = x + self.output(self._attend(q, keys, values, mask))
        return x + self.mlp(self.output_norm(x)), keys, values

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Attend with the queries of one key-value head side by side: keys are not repeated."""
        batch, heads, length, dim = q.shape
        grouped = q.reshape(batch, self.kv_heads, -1, dim)
        scores = (grouped @ keys.transpose(2, 3)).unflatten(2, (heads // self.kv_heads, length))
        scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        weights = scores.float().softmax(-1).to(q.dtype).flatten(2, 3)
        return (weights @ values).reshape(batch, heads, length, dim).transpose(1, 2).flatten(2)


class _Norm(nn.Module):
    """RMS norm in float32, with the weight of one of transformers' norms."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.epsilon = float(norm.variance_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rms(x) * weight."""
        wide = x.float()
        # Written as runtimes recognise it, and fuse it to one operator.
        wide = wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return wide.to(x.dtype) * self.weight


def scatter(past: Tensor, update: Tensor, past_len: Tensor, in_place: bool = False) -> Tensor:
    """Write new columns into a cache at each row's ``past_len``; in the ONNX graph, in place.

    Args:
        past: [B, H, S, D].
        update: [B, H, T, D].
        past_len: first column to write, [B].
        in_place: whether ``past`` itself is written.
    """
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "TensorScatter",
            (past, update, past_len),
            {"axis": 2, "mode": "linear"},
            dtype=past.dtype,
            shape=past.shape,
            version=24,
        )
    columns = past_len.unsqueeze(1) + torch.arange(update.shape[2], device=past.device)
    index = columns[:, None, :, None].expand_as(update)
    return past.scatter_(2, index, update) if in_place else past.scatter(2, index, update)


def _joined(projections: Sequence[Any], scale: float = 1.0) -> nn.Linear:
    """Join projections of one input to one."""
    weight = torch.cat([each.weight.detach() for each in projections]) * scale
    joined = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    joined.weight = nn.Parameter(weight, requires_grad=False)
    bias = torch.cat([each.bias.detach() for each in projections]) * scale
    joined.bias = nn.Parameter(bias, requires_grad=False)
    return joined


def _rotation(config: Any, head_dim: int) -> Tensor:
    """Return each axis' share of the rotary frequencies, [3, D / 2]; an axis turns its sections only."""
    rope = config.rope_parameters
    frequencies = rope["rope_theta"] ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    table = torch.zeros(3, head_dim // 2)
    start = 0
    for index, size in enumerate(rope["mrope_section"]):
        table[index % 3, start : start + size] = frequencies[start : start + size].float()
        start += size
    return table


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _select(x: Tensor, row: Tensor, axis: int) -> Tensor:
    """Pick one index of an axis for each row of the batch; the axis stays, with length 1."""
    shape = list(x.shape)
    shape[axis] = 1
    return x.gather(axis, row.reshape([-1] + [1] * (x.dim() - 1)).expand(shape))
