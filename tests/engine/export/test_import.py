"""Folders of the released form, over a small random Qwen2.5-VL base, become bundles that answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ArtifactError, InputError
from engine.export.import_released import import_released, released_task
from engine.model.checkpoint import QWEN_MEAN, QWEN_STD, modern_name, open_model, pixel_scale
from engine.model.fusar import PriorBatch
from engine.model.nano import build_tokenizer, nano_config
from engine.runtime.image import patches, scale_pixels
from engine.runtime.predictor import Predictor
from engine.runtime.text import Request, parse_detections

SIZE = 112


@pytest.fixture(scope="module")
def qwen(tmp_path_factory) -> Path:
    """A folder as transformers writes one: two layers, CLIP's pixel scale, no word of ours."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = build_tokenizer()
    config = nano_config(tokenizer)
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 2, [1]
    config.vision_config.window_size = 112
    config.text_config.num_hidden_layers = 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("qwen")
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": list(QWEN_MEAN), "image_std": list(QWEN_STD)})
    )
    return folder


def write_adapter(folder: Path, qwen: Path, tlm_config: bool, vision: bool, short: bool = False) -> Path:
    """Write a folder as the release has it: suffixes as targets, base by name, names of older releases."""
    opened = open_model(str(qwen))
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, layer in opened.model.base.named_modules():
        own = "visual" in name
        suffix = name.rpartition(".")[2]
        wanted = suffix in ("q_proj", "v_proj", "gate_proj") or (own and suffix == "qkv")
        if not isinstance(layer, torch.nn.Linear) or not wanted or (own and not vision):
            continue
        path = (
            name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
            if short
            else name
        )
        for part, shape in (("A", (4, layer.in_features)), ("B", (layer.out_features, 4))):
            key = f"base_model.model.{path}.lora_{part}.weight"
            state[key] = torch.randn(shape, generator=generator) * 0.2
    folder.mkdir(parents=True)
    save_file(state, folder / "adapter_model.safetensors")
    targets = ["q_proj", "v_proj", "gate_proj", *(["qkv"] if vision else [])]
    config = {"peft_type": "LORA", "base_model_name_or_path": "/nowhere/Qwen2.5-VL-7B-Instruct", "r": 4,
              "lora_alpha": 8, "lora_dropout": 0.05, "target_modules": targets, "bias": "none",
              "task_type": "CAUSAL_LM", "exclude_modules": None if vision else ".*visual.*"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    channels = opened.model.tlm.config.channels
    film = {
        "0.weight": torch.randn(32, 64, generator=generator) * 0.1,
        "0.bias": torch.zeros(32),
        "2.weight": torch.randn(2 * channels, 32, generator=generator) * 0.1,
        "2.bias": torch.randn(2 * channels, generator=generator) * 0.1,
    }
    torch.save({"film_mlp": film, "score": {"weight": torch.zeros(1)}}, folder / "vec64_film.pt")
    if tlm_config:
        facts = {"format": "tlm_original_train_patch_resize_v1", "sigma": 2.0, "hidden_mult": 4,
                 "image_size": SIZE, "vec_dim": 64}  # fmt: skip
        (folder / "tlm_config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def adapter(qwen: Path, tmp_path_factory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("released") / "stage2", qwen, True, False)


@pytest.fixture(scope="module")
def bundle(adapter: Path, qwen: Path, tmp_path_factory):
    tasks = {"detection": released_task("detection", "ship", None)}
    return import_released(
        adapter, str(qwen), tmp_path_factory.mktemp("out") / "b", tasks, ("Gaofen-3",), 3.0
    )


def test_a_released_adapter_becomes_a_bundle_that_answers(bundle, make_request) -> None:
    manifest = bundle.manifest
    assert manifest.sensors == ("Gaofen-3",) and manifest.spacing_m == 3.0
    assert manifest.chip.enlarged_px == SIZE
    assert manifest.chip.pixel_mean == QWEN_MEAN
    assert manifest.system == "You are a helpful assistant."
    predictor = Predictor.open(bundle.path, threads=1)
    asked = make_request(1)
    request = Request("detection", asked.chips, asked.priors, sensor="Gaofen-3", spacing_m=3.0)
    answer = predictor.ask([request])[0]
    assert len(parse_detections(answer.text)) == len(answer.objects)
    assert answer.text == "None" or answer.text.startswith("[{")
    with pytest.raises(InputError, match="Gaofen-3"):
        predictor.ask([asked])  # of another sensor


def test_the_graph_computes_what_the_folders_say(bundle, adapter, qwen, make_request) -> None:
    """Scale of pixels, LoRA and the released modulation, worked out apart from the bundle."""
    request = make_request(2)
    opened = open_model(str(adapter), base=str(qwen))
    plain = patches(np.stack(request.chips), SIZE)
    pixels = (plain + 1) / 2  # 0 to 1
    shaped = pixels.reshape(*pixels.shape[:2], 3, -1)
    scaled = (shaped - np.array(QWEN_MEAN)[:, None]) / np.array(QWEN_STD)[:, None]
    np.testing.assert_allclose(
        scale_pixels(plain, QWEN_MEAN, QWEN_STD), scaled.reshape(plain.shape), atol=1e-5
    )
    prior = request.priors[0]
    batch = PriorBatch(
        *(torch.from_numpy(each)[None] for each in (prior.vectors, prior.positions, prior.mask))
    )
    with torch.no_grad():
        expected = opened.model.visual_tokens(torch.from_numpy(scaled.reshape(plain.shape)).float(), batch)
    got, _ = Predictor.open(bundle.path, threads=1).first_tensors(
        [Request("detection", request.chips, request.priors, sensor="Gaofen-3")]
    )
    np.testing.assert_allclose(got.reshape(expected.shape), expected.numpy(), atol=2e-4, rtol=1e-3)


def test_stage_one_with_vision_lora_and_without_tlm_config(qwen: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "stage1", qwen, False, True)
    opened = open_model(str(folder), base=str(qwen))
    assert opened.model.tlm.config.variant == "reference" and opened.model.tlm.config.sigma == 2.0
    assert opened.model.image_px == 504
    own = [name for name, _ in opened.model.base.named_parameters() if "lora_" in name]
    assert any("visual" in name for name in own)


def test_lora_goes_where_the_file_says_and_nowhere_else(adapter: Path, qwen: Path) -> None:
    opened = open_model(str(adapter), base=str(qwen))
    own = [name for name, _ in opened.model.base.named_parameters() if "lora_" in name]
    assert len(own) == 6 and not any("visual" in name for name in own)


def test_older_names_are_the_same_layers(qwen: Path, adapter: Path, tmp_path: Path) -> None:
    older = write_adapter(tmp_path / "old", qwen, True, True, short=True)
    newer = write_adapter(tmp_path / "new", qwen, True, True)
    assert set(load_file(older / "adapter_model.safetensors")) != set(
        load_file(newer / "adapter_model.safetensors")
    )
    states = [dict(open_model(str(each), base=str(qwen)).model.named_parameters()) for each in (older, newer)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert modern_name("base_model.model.visual.x") == "base_model.model.model.visual.x"


def test_what_does_not_fit_is_refused(adapter: Path, qwen: Path, tmp_path: Path) -> None:
    tasks = {"detection": released_task("detection", "ship", None)}
    with pytest.raises(ArtifactError, match="vec64_film"):
        import_released(qwen, str(qwen), tmp_path / "a", tasks, ("x",), 1.0)
    with pytest.raises(InputError, match="spacing"):
        import_released(adapter, str(qwen), tmp_path / "a", tasks, ("x",), 0.0)
    with pytest.raises(ArtifactError, match="cannot open base"):
        import_released(adapter, str(tmp_path), tmp_path / "a", tasks, ("x",), 1.0)
    with pytest.raises(InputError, match="without a question"):
        released_task("counting", "ship", None)
    with pytest.raises(InputError, match="expected one of"):
        released_task("poetry", "ship", None)
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [0.5]}')
    with pytest.raises(ArtifactError, match="three each"):
        pixel_scale(str(odd))
