"""The two graphs of a bundle, from a FUSAR-GPT model to ONNX (opset 24).

``vision``: patches and priors to modulated visual tokens. ``decoder``: see ``engine.model.decoder``. The
names of the tensors are fixed; so is the order of the caches: keys and values layer by layer.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import ExportError
from engine.export.tower import VisionGraph
from engine.model.decoder import Decoder
from engine.model.fusar import FusarGpt, PriorBatch

OPSET = 24
VISION_INPUTS = ("patches", "vectors", "positions", "mask")
VISION_OUTPUTS = ("visual",)
DECODER_INPUTS = ("input_ids", "visual", "visual_index", "position_ids", "past_len", "new_len")


def cache_names(layers: int, prefix: str) -> list[str]:
    """Return the caches' names in order: ``past_k_0``, ``past_v_0``, ``past_k_1``, ..."""
    return [f"{prefix}_{kind}_{layer}" for layer in range(layers) for kind in ("k", "v")]


def export_vision(model: FusarGpt, path: Path) -> None:
    """Write ``vision.onnx``; the batch is dynamic.

    Raises:
        ExportError: the graph could not be exported.
    """
    side, patch = model.vision.side, model.base.config.vision_config.patch_size
    prior = PriorBatch.absent(2)
    example = (torch.zeros(2, side**2, 3 * patch**2), prior.vectors, prior.positions, prior.mask)
    batch = {0: torch.export.Dim("batch")}
    _export(
        VisionGraph(model).eval(), example, path, VISION_INPUTS, VISION_OUTPUTS, tuple(batch for _ in example)
    )


def export_decoder(model: FusarGpt, path: Path) -> None:
    """Write ``decoder.onnx``; rows, tokens, visual tokens and columns are dynamic.

    Raises:
        ExportError: the graph could not be exported.
    """
    decoder = Decoder(model.base).eval()
    layers, rows, tokens, columns = len(decoder.layers), 3, 5, 16
    width = model.base.config.text_config.hidden_size
    cache = torch.zeros(rows, decoder.kv_heads, columns, decoder.head_dim)
    example = (
        torch.zeros(rows, tokens, dtype=torch.long),
        torch.zeros(7, width),
        torch.full((rows, tokens), -1),
        torch.zeros(3, rows, tokens, dtype=torch.long),
        torch.zeros(rows, dtype=torch.long),
        torch.full((rows,), tokens),
        [cache.clone() for _ in range(2 * layers)],
    )
    b, t, n, s = (torch.export.Dim(name) for name in ("rows", "tokens", "visuals", "columns"))
    shapes = ({0: b, 1: t}, {0: n}, {0: b, 1: t}, {1: b, 2: t}, {0: b}, {0: b}, [{0: b, 2: s}] * (2 * layers))
    inputs = (*DECODER_INPUTS, *cache_names(layers, "past"))
    outputs = ("logits", *cache_names(layers, "present"))
    _export(decoder, example, path, inputs, outputs, shapes)


def _export(
    module: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    shapes: tuple[Any, ...],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
            if program is None:
                raise RuntimeError("the exporter returned nothing")
            program.save(str(path))
    except (RuntimeError, ValueError) as error:
        raise ExportError(f"{path.name} could not be exported: {error}") from error
