"""A bundle's graphs back to the torch model that they were exported from.

The graphs hold every weight; some of them joined, turned or scaled. Norms and biases keep their names;
weights of products are told apart by their order. So a bundle alone is enough for the torch backend and for
a comparison with transformers on the same weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from engine.errors import ArtifactError
from engine.model.fusar import FusarGpt
from engine.model.nano import nano_config
from engine.model.tlm import TlmConfig, TokenwiseModulation
from engine.runtime.spec import CONFIG, DECODER, TOKENIZER, VISION, Bundle


def load_model(bundle: Bundle) -> tuple[FusarGpt, Any]:
    """Make a bundle's model anew.

    Returns:
        The model in float32, in evaluation mode, and its ``tokenizers.Tokenizer``.

    Raises:
        ArtifactError: the graphs do not hold what the configuration names.
    """
    from tokenizers import Tokenizer
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = Tokenizer.from_file(str(bundle.file(TOKENIZER)))
    if CONFIG in bundle.manifest.files:
        config = Qwen2_5_VLConfig.from_dict(json.loads(bundle.file(CONFIG).read_text()))
    elif bundle.manifest.model.base == "nano":
        config = nano_config(tokenizer)
    else:
        raise ArtifactError(f"got bundle {bundle.path} without {CONFIG}, expected one: export it anew")
    base = Qwen2_5_VLForConditionalGeneration(config).eval()
    vision, decoder = _Graph(bundle.file(VISION)), _Graph(bundle.file(DECODER))
    tlm_weights = vision.products[-2:]
    hidden = tlm_weights[0].shape[0]
    places = vision.named.get("tlm.places")
    told = 0 if places is None else len(places)
    tlm = TokenwiseModulation(TlmConfig(config.text_config.hidden_size, hidden, places=told)).eval()
    state = {} if places is None else {"places": places}
    for index, weight in zip((0, 2), tlm_weights, strict=True):
        state[f"mlp.{index}.weight"] = weight
        state[f"mlp.{index}.bias"] = vision.bias(f"tlm.mlp.{index}.bias", weight)
    tlm.load_state_dict(state)
    tower = config.vision_config
    weights = _vision(vision, tower.depth, tower.num_heads, tower.patch_size)
    weights |= _decoder(decoder, config.text_config)
    try:
        base.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(f"the graphs of {bundle.path} do not fit its configuration: {error}") from error
    chip = bundle.manifest.chip
    return FusarGpt(base, tlm, chip.enlarged_px, chip.pixel_mean, chip.pixel_std).eval(), tokenizer


class _Graph:
    """A graph's weights: by name, and those of products in their order, [out, in] as torch holds them."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        self.named = {
            each.name: torch.from_numpy(np.array(numpy_helper.to_array(each)))
            for each in model.graph.initializer
        }
        self.products: list[Tensor] = []
        self._biases: dict[int, Tensor] = {}  # of products that add one, by the weight's identity
        for node in model.graph.node:
            if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in self.named:
                continue
            weight = self.named[node.input[1]]
            turned = any(each.name == "transB" and each.i for each in node.attribute)
            self.products.append(weight if turned else weight.T.contiguous())
            if len(node.input) > 2:
                self._biases[id(self.products[-1])] = self.named[node.input[2]]

    def bias(self, name: str, weight: Tensor) -> Tensor:
        """Return the bias of a product."""
        found = self._biases.get(id(weight))
        return self.vector(name, len(weight)) if found is None else found

    def vector(self, name: str, size: int) -> Tensor:
        """Return a bias or a norm's weight; the exporter leaves out those that change nothing."""
        if name in self.named:
            return self.named[name]
        return torch.zeros(size) if name.endswith(".bias") else torch.ones(size)


def _vision(graph: _Graph, depth: int, heads: int, side_px: int) -> dict[str, Tensor]:
    named, products = graph.named, graph.products[:-2]
    split = "embedding" in named  # engine.export.tower's form; before it, the tower's own
    per_block = 7 if split else 5
    frames = named.get("tower.tower.patch_embed.proj.weight")
    if frames is None:  # both frames of a still image are equal: the two frames' weights were added up
        frame = products.pop(0).reshape(-1, 3, 1, side_px, side_px)
        frames = torch.cat((frame, torch.zeros_like(frame)), 2)
    if len(products) != per_block * depth + 2:
        raise ArtifactError(f"got {len(products)} products in {VISION}, expected {2 + per_block * depth}")
    width = len(frames)
    out = {"patch_embed.proj.weight": frames}
    for block in range(depth):
        own = products[per_block * block :][:per_block]
        to, given = f"blocks.{block}.", f"blocks.{block}." if split else f"tower.tower.blocks.{block}."
        if split:
            bias = [
                graph.bias(f"{given}{name}.bias", each)
                for name, each in zip(("first", "second", "value"), own[:3], strict=True)
            ]
            out[f"{to}attn.qkv.weight"] = _arranged(own[:3], heads)
            out[f"{to}attn.qkv.bias"] = _arranged(bias, heads)
            names = {
                "out": "attn.proj",
                "gate": "mlp.gate_proj",
                "up": "mlp.up_proj",
                "down": "mlp.down_proj",
            }
            own = own[2:]
        else:
            names = {name: name for name in ("attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
            out[f"{to}attn.qkv.weight"] = own[0]
            out[f"{to}attn.qkv.bias"] = graph.vector(f"{given}attn.qkv.bias", 3 * width)
        for weight, (source, name) in zip(own[1:], names.items(), strict=True):
            out[f"{to}{name}.weight"] = weight
            out[f"{to}{name}.bias"] = graph.bias(f"{given}{source}.bias", weight)
        for norm in ("norm1.weight", "norm2.weight"):
            out[f"{to}{norm}"] = graph.vector(f"{given}{norm}", width)
    prefix = "" if split else "tower.tower.merger."
    out["merger.ln_q.weight"] = graph.vector("norm.weight" if split else f"{prefix}ln_q.weight", width)
    for index, weight in zip((0, 2), products[-2:], strict=True):
        out[f"merger.mlp.{index}.weight"] = weight
        out[f"merger.mlp.{index}.bias"] = graph.bias(f"{prefix}mlp.{index}.bias", weight)
    return {f"model.visual.{name}": value for name, value in out.items()}


def _arranged(parts: list[Tensor], heads: int) -> Tensor:
    """Undo ``engine.export.tower``'s order of queries and keys."""
    halves = torch.cat(parts[:2])
    half = len(halves) // 4 // heads
    index = torch.arange(len(halves)).reshape(2, 2, heads, half).permute(1, 2, 0, 3).reshape(-1)
    return torch.cat((halves[index], parts[2]))


def _decoder(graph: _Graph, config: Any) -> dict[str, Tensor]:
    named, products, layers = graph.named, graph.products, config.num_hidden_layers
    if len(products) != 6 * layers + 1:
        raise ArtifactError(f"got {len(products)} products in {DECODER}, expected {6 * layers + 1}")
    scale = (config.hidden_size // config.num_attention_heads) ** 0.5
    out = {"lm_head.weight": products[-1]}
    out["model.language_model.embed_tokens.weight"] = named["embedding.weight"]
    width = config.hidden_size
    out["model.language_model.norm.weight"] = graph.vector("norm.weight", width)
    for layer in range(layers):
        key_value, query, output, gate, up, down = products[6 * layer :][:6]
        to, given = f"model.language_model.layers.{layer}.", f"layers.{layer}."
        key, value = key_value.chunk(2)
        key_bias, value_bias = graph.bias(f"{given}key_value.bias", key_value).chunk(2)
        attention = {
            "q_proj.weight": query * scale,
            "q_proj.bias": graph.bias(f"{given}query.bias", query) * scale,
            "k_proj.weight": key, "k_proj.bias": key_bias,
            "v_proj.weight": value, "v_proj.bias": value_bias,
            "o_proj.weight": output,
        }  # fmt: skip
        out |= {f"{to}self_attn.{name}": each for name, each in attention.items()}
        out |= {f"{to}mlp.{n}_proj.weight": w for n, w in (("gate", gate), ("up", up), ("down", down))}
        out[f"{to}input_layernorm.weight"] = graph.vector(f"{given}input_norm.weight", width)
        out[f"{to}post_attention_layernorm.weight"] = graph.vector(f"{given}output_norm.weight", width)
    return out
