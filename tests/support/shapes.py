"""A bundle in the shape of Qwen2.5-VL-3B, cut to a few layers, with random weights: for compilers."""

from __future__ import annotations

from pathlib import Path

from engine.runtime import spec
from engine.runtime.text import END_OF_TURN, IMAGE_TOKEN, LABELS, QUESTIONS

IMAGE_PX = 504


def write_cut_3b(folder: Path, layers: int = 2) -> spec.Bundle:
    """Export such a model; widths, heads and windows are the 3B's, MLPs a quarter as wide, the words nano's.

    No golden chips: nothing runs it.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from engine.export.bundle import chip_spec, entries, model_facts, read_graph
    from engine.export.to_onnx import export_decoder, export_vision
    from engine.model.fusar import new_fusar
    from engine.model.nano import build_tokenizer

    tokenizer = build_tokenizer()
    text = {
        "vocab_size": 704, "hidden_size": 2048, "intermediate_size": 2752, "num_hidden_layers": layers,
        "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 1280, "intermediate_size": 856, "num_heads": 16, "patch_size": 14,
        "window_size": 112, "out_hidden_size": 2048, "fullatt_block_indexes": [1],
    }  # fmt: skip
    ids = {
        "image_token_id": tokenizer.token_to_id(IMAGE_TOKEN),
        "video_token_id": 7,
        "vision_start_token_id": 3,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    torch.manual_seed(0)
    base = Qwen2_5_VLForConditionalGeneration(config).eval()
    model = new_fusar(base, IMAGE_PX, 256).eval()
    folder.mkdir(parents=True)
    export_vision(model, folder / spec.VISION)
    export_decoder(model, folder / spec.DECODER)
    tokenizer.save(str(folder / spec.TOKENIZER))
    manifest = spec.Manifest(
        name="cut", created="", model=model_facts(model, "cut"), chip=chip_spec(model),
        sensors=("Sentinel-1 IW",), spacing_m=10.0,
        special_tokens={token: tokenizer.token_to_id(token) for token in (IMAGE_TOKEN, END_OF_TURN)},
        tasks={
            "detection": spec.TaskSpec(
                question=QUESTIONS["detection"], answer="detections", labels=LABELS, max_tokens=384
            )
        },
        graphs={"vision": read_graph(folder / spec.VISION), "decoder": read_graph(folder / spec.DECODER)},
        files=entries(folder),
    )  # fmt: skip
    (folder / spec.MANIFEST).write_text(manifest.model_dump_json())
    return spec.Bundle.open(folder)
