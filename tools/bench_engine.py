"""The engine beside transformers' ``generate``: the same weights, chips and machine, in one run.

    make bench-engine [BUNDLE=folder] [BACKEND=ort|ort-int8|torch|tensorrt] [ARGS="--chips 192"]

Chips are simulated, in the mix that the prescreen leaves: most of them hold nothing. Both sides start from
the chip's pixels. ``generate`` answers greedily at several batch sizes; so does the engine here, with a floor
of one half, so that both write the same answers unless the bundle has a readout; one more line has the
bundle's own floor. What is timed takes turns, and each figure is the best of its rounds, since other work on
the machine only slows down. Where that work comes and goes, the ratio to ``generate`` is better judged round
by round: its median is printed too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from engine.runtime.backend import load_backend
from engine.runtime.image import patches
from engine.runtime.predictor import Predictor
from engine.runtime.prior import Prior
from engine.runtime.spec import Bundle
from engine.runtime.text import END_OF_TURN, IMAGE_TOKEN, Request, prompt

_console = Console(stderr=True)


def draw(count: int, empty: float, seed: int) -> list[Request]:
    """Return requests about simulated chips, a given share of them without an object."""
    from engine.simulate.chips import ChipMaker

    maker, pools, index = ChipMaker(seed), {True: [], False: []}, 0  # type: ignore[var-annotated]
    wanted = {True: round(empty * count), False: count - round(empty * count)}
    while any(len(pools[kind]) < wanted[kind] for kind in pools):
        pixels, truth, *_ = maker.make(index)
        pools[not truth].append(pixels)
        index += 1
    chips = pools[True][: wanted[True]] + pools[False][: wanted[False]]
    np.random.default_rng(seed).shuffle(chips)
    return [Request("detection", (chip,), (Prior.absent(),)) for chip in chips]


class Generate:
    """transformers' own model and its ``generate``, as a release would run it."""

    def __init__(self, bundle: Bundle, dtype: str) -> None:
        import torch

        from engine.export.read_back import load_model

        self.torch = torch
        model, self.tokenizer = load_model(bundle)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.base.to(self.device, getattr(torch, dtype))
        self.bundle = bundle

    def __call__(self, requests: Sequence[Request], batch: int) -> list[list[int]]:
        """Return the tokens of greedy answers, without what follows their end."""
        torch, chip = self.torch, self.bundle.manifest.chip
        end = self.tokenizer.token_to_id(END_OF_TURN)
        image = self.bundle.manifest.special_tokens[IMAGE_TOKEN]
        spec = self.bundle.manifest.tasks["detection"]
        answers: list[list[int]] = []
        for start in range(0, len(requests), batch):
            some = requests[start : start + batch]
            pixels = patches(np.stack([each.chips[0] for each in some]), chip.enlarged_px, chip.patch_px)
            # A still image fills both frames of the temporal patch.
            frames = np.repeat(pixels.reshape(-1, 3, 1, chip.patch_px**2), 2, axis=2)
            text = prompt(some[0], [chip.tokens], spec.question)
            ids = torch.tensor([self.tokenizer.encode(text, add_special_tokens=False).ids] * len(some))
            side = chip.enlarged_px // chip.patch_px
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=ids.to(self.device),
                    attention_mask=torch.ones_like(ids).to(self.device),
                    mm_token_type_ids=(ids == image).int().to(self.device),
                    pixel_values=torch.from_numpy(frames.reshape(len(frames), -1))
                    .reshape(len(some) * side**2, -1)
                    .to(self.device, self.model.dtype),
                    image_grid_thw=torch.tensor([[1, side, side]] * len(some)).to(self.device),
                    max_new_tokens=spec.max_tokens,
                    do_sample=False,
                    eos_token_id=end,
                    pad_token_id=end,
                )
            for row in out[:, ids.shape[1] :].tolist():
                answers.append(row[: row.index(end) + 1] if end in row else row)
        return answers


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that something takes, and what it returns."""
    started = time.perf_counter()
    out = work()
    return time.perf_counter() - started, out


def flops(model: Any, bundle: Bundle, prompt_tokens: int, answer_tokens: float) -> dict[str, float]:
    """Return the floating-point operations of a chip's products, in 10^9.

    The decoder's last layer needs keys and values only, but for the one token that is answered for.
    """
    vision, text = model.config.vision_config, model.config.text_config
    length, width = (bundle.manifest.chip.enlarged_px // vision.patch_size) ** 2, vision.hidden_size
    merged = width * vision.spatial_merge_size**2
    window = (vision.window_size // vision.patch_size) ** 2
    full = len(vision.fullatt_block_indexes)
    per_block = length * (4 * width**2 + 3 * width * vision.intermediate_size)
    looking = length * 3 * vision.patch_size**2 * width + vision.depth * per_block
    looking += 2 * length * width * (full * length + (vision.depth - full) * window)
    looking += length // vision.spatial_merge_size**2 * merged * (merged + vision.out_hidden_size)
    head = text.hidden_size // text.num_attention_heads
    key_value = text.hidden_size * 2 * text.num_key_value_heads * head
    rest = 2 * text.hidden_size**2 + 3 * text.hidden_size * text.intermediate_size
    layers, size = text.num_hidden_layers, text.hidden_size
    reading = prompt_tokens * ((layers - 1) * (key_value + rest + prompt_tokens * size) + key_value) + rest
    reading += size * text.vocab_size
    writing = answer_tokens * (
        layers * (key_value + rest + 2 * prompt_tokens * size) + size * text.vocab_size
    )
    return {name: 2e-9 * float(each) for name, each in
            (("vision", looking), ("prompt", reading), ("answer", writing))}  # fmt: skip


def peak_gflops(threads: int) -> float:
    """Return what a large float32 product reaches here, on as many threads of Python as are given."""
    from concurrent.futures import ThreadPoolExecutor

    a = np.random.default_rng(0).random((768, 768), np.float32)
    with ThreadPoolExecutor(threads) as pool:
        best = min(timed(lambda: list(pool.map(lambda _: a @ a, range(4 * threads))))[0] for _ in range(5))
    return 4 * threads * 2 * 768**3 / best / 1e9


def main(
    bundle: Annotated[Path | None, typer.Option(help="Bundle; else the one that ships.")] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="Backends; else ort, and ort-int8 if it is there.")
    ] = None,
    chips: Annotated[int, typer.Option(help="Chips of a round.")] = 96,
    empty: Annotated[float, typer.Option(help="Share of chips without an object.")] = 0.69,
    batches: Annotated[str, typer.Option(help="Batch sizes of generate.")] = "1,8,16,32",
    rows: Annotated[str, typer.Option(help="Answers side by side, of the engine.")] = "8,32",
    rounds: Annotated[int, typer.Option(help="Rounds; the best counts.")] = 2,
    threads: Annotated[int | None, typer.Option(help="Threads; else all cores.")] = None,
    dtype: Annotated[str, typer.Option(help="Of generate: float32 or bfloat16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 20261125,
) -> None:
    """Measure chips and tokens per second."""
    import torch

    threads = threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    opened = Bundle.open(bundle)
    names = backend or ["ort", *(["ort-int8"] if "vision.int8.onnx" in opened.manifest.files else [])]
    _console.print(f"{chips} chips are drawn, {names} are opened", style="dim")
    requests = draw(chips, empty, seed)
    greedy = Bundle(opened.path, opened.manifest.model_copy(update={"score_floor": 0.5}), opened.bundle_id)
    generate = Generate(opened, dtype)
    works: dict[str, Callable[[], Any]] = {}
    warm: list[Callable[[], Any]] = [lambda: generate(requests[:8], 8)]
    for size in map(int, batches.split(",")):
        # One at a time is slow and steady: fewer chips tell as much.
        some = requests[: max(8, chips // 6)] if size == 1 else requests
        works[f"generate {dtype}, batch {size}"] = lambda s=some, b=size: generate(s, b)
    for name in names:
        loaded = load_backend(name, opened, threads)
        for count in map(int, rows.split(",")):
            predictor = Predictor(greedy, loaded, rows=count)
            warm.append(lambda p=predictor: p.ask(requests[:16]))
            works[f"{loaded.name}, {count} rows"] = lambda p=predictor: p.ask(requests)
        own = Predictor(opened, loaded, rows=max(map(int, rows.split(","))))
        works[f"{loaded.name}, floor {opened.manifest.score_floor:g}"] = lambda p=own: p.ask(requests)
    for work in warm:  # kernels chosen, caches allocated
        work()
    best: dict[str, tuple[float, Any]] = {}
    rates: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds):
        for name, work in works.items():
            seconds, out = timed(work)
            _console.print(f"round {turn + 1}: {name}: {len(out) / seconds:.1f} chips/s", style="dim")
            rates[name].append(len(out) / seconds)
            best[name] = min(best.get(name, (np.inf, None)), (seconds, out), key=lambda each: each[0])
    report(best, ratios(rates), opened, generate, threads, requests, dtype)


def ratios(rates: dict[str, list[float]]) -> dict[str, float]:
    """Return each one's median, over the rounds, of its rate to that of the round's best ``generate``."""
    reference = np.max([each for name, each in rates.items() if name.startswith("generate")], axis=0)
    return {name: float(np.median(np.array(each) / reference)) for name, each in rates.items()}


def report(
    best: dict[str, tuple[float, Any]],
    by_round: dict[str, float],
    bundle: Bundle,
    generate: Generate,
    threads: int,
    requests: Sequence[Request],
    dtype: str,
) -> None:
    """Print the figures, their conditions and one line of JSON."""
    tokens = {
        name: [len(each) if isinstance(each, list) else each.tokens for each in out]
        for name, (_, out) in best.items()
    }
    chips_s = {name: len(tokens[name]) / seconds for name, (seconds, _) in best.items()}
    reference = max((n for n in best if n.startswith("generate")), key=lambda n: chips_s[n])
    table = Table("what", "chips/s", "tokens/s", "times generate", "round by round", "roofline")
    written = np.mean(tokens[reference])
    text = prompt(requests[0], [bundle.manifest.chip.tokens], bundle.manifest.tasks["detection"].question)
    length = len(generate.tokenizer.encode(text, add_special_tokens=False).ids)
    work = flops(generate.model, bundle, length, float(written))
    peak = peak_gflops(threads)
    roof = peak / sum(work.values())
    for name, rate in chips_s.items():
        table.add_row(
            name, f"{rate:.1f}", f"{rate * np.mean(tokens[name]):.0f}", f"{rate / chips_s[reference]:.2f}",
            f"{by_round[name]:.2f}", f"{rate / roof:.2f}",
        )  # fmt: skip
    _console.print(table)
    tokenizer, words = generate.tokenizer, best[reference][1]
    theirs = [tokenizer.decode(each, skip_special_tokens=True) for each in words]
    same = {
        name: float(np.mean([a.text == b for a, b in zip(out, theirs, strict=False)]))
        for name, (_, out) in best.items()
        if not name.startswith("generate")
    }
    empty = float(np.mean([len(each) <= 2 for each in words]))
    weights = generate.model.num_parameters() * 4e-6
    _console.print(
        f"bundle {bundle.bundle_id}, {len(requests)} chips, {empty:.2f} answered as empty, {written:.1f} "
        f"tokens an answer, prompts of {length}; {threads} threads, {os.cpu_count()} cores\n"
        f"roofline of float32: {', '.join(f'{name} {each:.3f}' for name, each in work.items())} GFLOP a "
        f"chip, {peak:.0f} GFLOP/s in a large product: {roof:.0f} chips/s; weights {weights:.1f} MB, read "
        "from the processor's cache"
    )
    print(json.dumps({
        "bundle": bundle.bundle_id, "chips": len(requests), "empty": round(empty, 3), "threads": threads,
        "chips_s": {name: round(rate, 1) for name, rate in chips_s.items()},
        "tokens_s": {name: round(rate * float(np.mean(tokens[name])), 1) for name, rate in chips_s.items()},
        "reference": reference,
        "times_reference": {n: round(r / chips_s[reference], 2) for n, r in chips_s.items()},
        "times_by_round": {n: round(r, 2) for n, r in by_round.items()},
        "same_text": {name: round(each, 3) for name, each in same.items()}, "dtype": dtype,
        "gflop_a_chip": {name: round(each, 4) for name, each in work.items()}, "peak_gflop_s": round(peak, 1),
    }))  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
