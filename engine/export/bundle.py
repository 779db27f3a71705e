"""From a checkpoint folder to a bundle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.data.describe import LAND_COVERS
from engine.errors import InputError
from engine.export import golden
from engine.export.reference import TorchBackend
from engine.export.to_onnx import export_decoder, export_vision
from engine.model.fusar import FusarGpt, load_fusar
from engine.runtime import spec
from engine.runtime.forms import CLUTTER, NO_LAND, UNKNOWN
from engine.runtime.golden import Golden
from engine.runtime.ort import Int8OrtBackend
from engine.runtime.parity import compare
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.proposals import Readout
from engine.runtime.tasks import example
from engine.runtime.text import DATED, END_OF_TURN, IMAGE_TOKEN, LABELS, QUESTIONS, Answer, Box

log = logging.getLogger(__name__)

_CALIBRATION_CHIPS = 48
_CALIBRATION_SEED = 777  # of no training or test set

TASKS = {
    "detection": spec.TaskSpec(
        question=QUESTIONS["detection"], answer="detections", labels=LABELS, max_tokens=384
    ),
    "description": spec.TaskSpec(question=QUESTIONS["description"], answer="text", max_tokens=96),
    "counting": spec.TaskSpec(question=QUESTIONS["counting"], answer="count", max_tokens=8),
    "localisation": spec.TaskSpec(question=QUESTIONS["localisation"], answer="cells", max_tokens=96),
    "classification": spec.TaskSpec(
        question=QUESTIONS["classification"], answer="class", labels=(*LABELS, CLUTTER), max_tokens=16
    ),
    "landcover": spec.TaskSpec(
        question=QUESTIONS["landcover"],
        answer="choice",
        labels=(*LAND_COVERS, NO_LAND, UNKNOWN),
        max_tokens=24,
    ),
    "change": spec.TaskSpec(question=QUESTIONS["change"], answer="change", max_tokens=640),
    "question": spec.TaskSpec(question="", answer="question", max_tokens=256),
}


def export(
    checkpoint: Path,
    out: Path,
    *,
    name: str = "nano",
    base: str = "nano",
    chips: Path | None = None,
    card: Path | None = None,
    tasks: Sequence[str] | Mapping[str, spec.TaskSpec] = ("detection", "description"),
    sensors: Sequence[str] = ("Sentinel-1 IW",),
    spacing_m: float = 10.0,
    score_floor: float = 0.1,
    score_coordinates: float = 1.0,
    score_odds: tuple[float, float, float] = (0.2, 0.8, 0.0),
    calibration: spec.Calibration | None = None,
    training: dict[str, Any] | None = None,
    system: str = DATED,
    int8: bool = False,
    progress: Callable[[str], None] | None = None,
) -> spec.Bundle:
    """Write a bundle and open it again.

    Args:
        checkpoint: a folder that ``engine.model.fusar.save_fusar`` wrote.
        out: the bundle's folder; must not hold anything.
        name: the bundle's name.
        base: what the model was made from.
        chips: golden chips (see ``engine.export.golden.load_inputs``); without it, test patterns.
        card: a model card to copy.
        tasks: names in TASKS, or tasks of another form; what the checkpoint was trained on.
        sensors: what it was trained on, as the prompt states it.
        spacing_m: pixel spacing it was trained on.
        score_floor: a list goes on above this probability of another object.
        score_coordinates: power of the coordinates' probability in a score.
        score_odds: weights of text and tower in the score of what the tower proposes, and what is added.
        calibration: of the scores; without it, none.
        training: a record of the training, kept in the manifest.
        system: template of the prompt's system turn, one of ``engine.runtime.text.SYSTEMS``.
        int8: whether to add graphs in 8 bit, calibrated on simulated chips; they are left out where they do
            not pass the parity gate.
        progress: called with the name of each stage.

    Raises:
        InputError: the folder is not empty, or a task is unknown.
        ArtifactError: the checkpoint does not fit.
        ExportError: a graph could not be exported.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"got {out}, which is not empty, expected a new folder: bundles are not changed")
    own = tasks if isinstance(tasks, Mapping) else {}
    if unknown := set(tasks) - set(TASKS) - set(own):
        raise InputError(f"got tasks {sorted(unknown)}, expected some of {sorted(TASKS)}")
    tell = progress or (lambda stage: None)
    tell("checkpoint")
    model, tokenizer = load_fusar(checkpoint)
    if model.tlm.config.place != "tokens" or model.tlm.config.years != 1:
        raise InputError(
            f"got a modulation of place {model.tlm.config.place!r} and {model.tlm.config.years} years, "
            "expected tokens and one year: bundles hold no other (docs/training.md)"
        )
    out.mkdir(parents=True, exist_ok=True)
    tell("vision")
    export_vision(model, out / spec.VISION)
    tell("decoder")
    export_decoder(model, out / spec.DECODER)
    shutil.copyfile(checkpoint / spec.TOKENIZER, out / spec.TOKENIZER)
    if model.readout is not None:
        readout_of(model, model.readout).save(out / spec.READOUT)
    if card is not None:
        shutil.copyfile(card, out / spec.CARD)
    manifest = spec.Manifest(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=model_facts(model, base),
        chip=chip_spec(model),
        sensors=tuple(sensors),
        spacing_m=spacing_m,
        special_tokens={token: int(tokenizer.token_to_id(token)) for token in (IMAGE_TOKEN, END_OF_TURN)},
        system=system,
        tasks={task: own.get(task) or TASKS[task] for task in tasks},
        graphs={"vision": read_graph(out / spec.VISION), "decoder": read_graph(out / spec.DECODER)},
        calibration=calibration or spec.Calibration(),
        score_floor=score_floor,
        score_coordinates=score_coordinates,
        score_odds=score_odds,
        files=entries(out),
        training=training or {},
    )
    tell("golden chips")
    given = golden.load_inputs(chips) if chips is not None else golden.patterns()
    _write_golden(out, manifest, model, given)
    model.base.config.to_json_file(out / spec.CONFIG)
    bundle = _seal(out, manifest)
    if int8:
        tell("8 bit")
        bundle = _add_int8(bundle)
    return bundle


def readout_of(model: FusarGpt, weight: Tensor) -> Readout:
    """Return what reads the tower's objects off visual tokens; what tells them their places is taken off."""
    told = torch.zeros(model.image_tokens, weight.shape[1])
    if model.tlm.config.places:
        told = model.tlm.places.detach()
    return Readout(weight.numpy(), -(told @ weight.T).numpy(), LABELS)


def _seal(out: Path, manifest: spec.Manifest) -> spec.Bundle:
    """Write the manifest over the files that are there."""
    manifest = manifest.model_copy(update={"files": entries(out)})
    (out / spec.MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    return spec.Bundle.open(out)


def _add_int8(bundle: spec.Bundle) -> spec.Bundle:
    from engine.export.quantise import quantise
    from engine.simulate.chips import make_chips

    chips = make_chips(_CALIBRATION_CHIPS, _CALIBRATION_SEED)
    task, each = next(iter(bundle.manifest.tasks.items()))
    quantise(
        bundle,
        [
            example(task, each, (pixels,), (Prior.from_bytes(prior, None),), bundle.manifest.sensors[0])
            for pixels, prior in zip(chips.pixels, chips.prior, strict=True)
        ],
    )
    sealed = _seal(bundle.path, bundle.manifest)
    parity = compare(sealed, Int8OrtBackend(sealed, threads=1))
    if parity.passed:
        return sealed
    log.warning("8 bit is left out: %.2f of the golden answers agree, %s", parity.agreeing, parity.tensors)
    for name in (spec.VISION_INT8, spec.DECODER_INT8):
        (bundle.path / name).unlink()
    return _seal(bundle.path, bundle.manifest)


def _write_golden(out: Path, manifest: spec.Manifest, model: FusarGpt, given: Golden) -> None:
    predictor = Predictor(spec.Bundle(out, manifest, "reference").uncalibrated(), TorchBackend(model))
    sensor = manifest.sensors[0]
    first, task = next(iter(manifest.tasks.items()))
    visual, logits = predictor.first_tensors(given.requests(first, task, sensor))
    answers: dict[str, list[Answer]] = {}
    found: list[tuple[Box, ...]] = []
    for name, task in sorted(manifest.tasks.items(), key=lambda each: each[1].answer == "change"):
        answers[name] = predictor.ask(given.requests(name, task, sensor, found))
        if task.answer == "detections":
            found = [tuple(each.box_px for each in answer.objects) for answer in answers[name]]
    golden.write(out / spec.GOLDEN, given, visual, logits, answers)


def entries(folder: Path) -> dict[str, spec.FileEntry]:
    """Return checksum and size of every file but the manifest."""
    return {path.name: spec.entry_of(path) for path in sorted(folder.iterdir()) if path.name != spec.MANIFEST}


def model_facts(model: FusarGpt, base: str) -> spec.ModelFacts:
    """Return what a manifest states of a model."""
    text = model.base.config.text_config
    return spec.ModelFacts(
        base=base,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=text.num_hidden_layers,
        kv_heads=text.num_key_value_heads,
        head_dim=text.hidden_size // text.num_attention_heads,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
    )


def chip_spec(model: FusarGpt) -> spec.ChipSpec:
    """Return the chips that a model takes."""
    vision = model.base.config.vision_config
    return spec.ChipSpec(
        enlarged_px=model.image_px,
        patch_px=vision.patch_size,
        merge=vision.spatial_merge_size,
        pixel_mean=model.pixel_mean,
        pixel_std=model.pixel_std,
    )


def read_graph(path: Path) -> spec.GraphSpec:
    """Read a graph's inputs and outputs from the file itself."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return spec.GraphSpec(
        inputs=tuple(_tensor(each) for each in graph.input),
        outputs=tuple(_tensor(each) for each in graph.output),
    )


def _tensor(value: Any) -> spec.TensorSpec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(size.dim_param or int(size.dim_value) for size in kind.shape.dim)
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return spec.TensorSpec(name=value.name, dtype=dtype, shape=shape)
