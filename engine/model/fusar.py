"""FUSAR-GPT: Qwen2.5-VL from transformers, unchanged, and one TLM module between its two halves.

The way of a batch stands in ``FusarGpt.forward``: patches -> visual tokens -> TLM -> embeddings of the
prompt with the visual tokens in their places -> language model. No hooks; the positions of M-RoPE are
always worked out from the image tokens themselves, since transformers silently falls back to text
positions where a caller forgets ``mm_token_type_ids``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ArtifactError, InputError
from engine.model.tlm import PRIOR_DIM, TlmConfig, TokenwiseModulation
from engine.model.vision import FixedGridVision
from engine.runtime.image import ANCHORS_SIDE, CHANNEL_RANGES, PLAIN_PIXELS, Pixels

_READOUT = "readout.safetensors"


@dataclass
class PriorBatch:
    """Priors of a batch of images: vectors [N, S, 64 * years], positions (y, x) [N, S, 2], mask [N, S]."""

    vectors: Tensor
    positions: Tensor
    mask: Tensor

    @classmethod
    def absent(cls, images: int, years: int = 1) -> PriorBatch:
        """Return priors of which no anchor is valid."""
        count = ANCHORS_SIDE**2
        return cls(
            torch.zeros(images, count, PRIOR_DIM * years),
            torch.zeros(images, count, 2),
            torch.zeros(images, count).bool(),
        )

    def to(self, device: torch.device) -> PriorBatch:
        """Return the same priors on a device."""
        return PriorBatch(self.vectors.to(device), self.positions.to(device), self.mask.to(device))


class FusarGpt(nn.Module):
    """The model.

    Args:
        base: transformers' Qwen2_5_VLForConditionalGeneration (LoRA layers may be injected in it).
        tlm: the modulation, as wide as a visual token.
        image_px: side of the enlarged chip.
        pixel_mean: as the base scales channels; see ``engine.runtime.image.scale_pixels``.
        pixel_std: likewise.
    """

    vision: FixedGridVision

    def __init__(
        self,
        base: Any,
        tlm: TokenwiseModulation,
        image_px: int,
        pixel_mean: Pixels = PLAIN_PIXELS,
        pixel_std: Pixels = PLAIN_PIXELS,
    ) -> None:
        super().__init__()
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.readout: Tensor | None = None  # see ``engine.runtime.proposals``: [labels + 4, C]
        self.base = base
        self.tlm = tlm
        self.image_px = image_px
        vision = base.config.vision_config
        # Not a submodule: it shares the tower's weights, which must appear once in the state.
        self.__dict__["vision"] = FixedGridVision(base.model.visual, image_px // vision.patch_size)

    def _apply(self, fn: Any, recurse: bool = True) -> FusarGpt:
        """Carry the fixed grid's buffers along when the model moves."""
        super()._apply(fn, recurse)
        for name, buffer in list(self.vision.named_buffers(recurse=False)):
            setattr(self.vision, name, buffer.to(next(self.base.parameters()).device))
        return self

    @property
    def image_tokens(self) -> int:
        """How many tokens a chip becomes."""
        return int(self.vision.tokens_side**2)

    def visual_tokens(self, patches: Tensor, priors: PriorBatch) -> Tensor:
        """Return modulated visual tokens, [N, tokens, C], of patches [N, side^2, 3 * patch^2]."""
        grid = (self.vision.tokens_side,) * 2

        def modulate(tokens: Tensor) -> Tensor:
            return self.tlm(tokens, priors.vectors, priors.positions, priors.mask, grid)

        if self.tlm.config.place == "tower":
            return self.tlm.placed(self.vision(patches, modulate))
        return self.tlm.placed(modulate(self.vision(patches)))

    def embed(self, input_ids: Tensor, visual: Tensor) -> Tensor:
        """Return embeddings, [B, T, C], with visual tokens in the places of the image tokens.

        Raises:
            InputError: the count of image tokens does not fit the images.
        """
        embeds = self.base.get_input_embeddings()(input_ids)
        places = input_ids == self.base.config.image_token_id
        if int(places.sum()) != visual.shape[0] * visual.shape[1]:
            raise InputError(
                f"got {int(places.sum())} image tokens, expected {visual.shape[1]} for each of "
                f"{visual.shape[0]} images"
            )
        return embeds.masked_scatter(
            places.unsqueeze(-1), visual.to(embeds.dtype).reshape(-1, visual.shape[2])
        )

    def positions(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return M-RoPE positions (time, row, column), [3, B, T]."""
        places = input_ids == self.base.config.image_token_id
        images = int(places.sum()) // self.image_tokens
        side = self.vision.side
        grid = torch.tensor([[1, side, side]] * images, device=input_ids.device)
        position_ids, _ = self.base.model.get_rope_index(
            input_ids, places.int(), image_grid_thw=grid, attention_mask=attention_mask
        )
        return position_ids

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        patches: Tensor,
        priors: PriorBatch,
        labels: Tensor | None = None,
    ) -> Any:
        """Run the model on prompts with their images, in the order in which their tokens stand.

        Args:
            input_ids: [B, T].
            attention_mask: 1 where there is a token, [B, T].
            patches: of all images of the batch, [N, side^2, 3 * patch^2].
            priors: one an image.
            labels: token to be learned after each position's shift, -100 elsewhere, [B, T].

        Returns:
            transformers' output with ``logits`` [B, T, V], and ``loss`` where labels are given.
        """
        embeds = self.embed(input_ids, self.visual_tokens(patches, priors))
        return self.base(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=self.positions(input_ids, attention_mask),
            labels=labels,
        )


def new_fusar(base: Any, image_px: int, hidden: int = 64, places: int = 0) -> FusarGpt:
    """Put an untrained TLM of our own variant on a base; ``places`` as in its configuration."""
    config = TlmConfig(base.config.text_config.hidden_size, hidden, places=places)
    return FusarGpt(base, TokenwiseModulation(config), image_px)


def save_fusar(model: FusarGpt, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint folder: transformers' files, ``tlm.safetensors``, ``fusar.json``, any readout."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.base.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(model.tlm.state_dict(), folder / "tlm.safetensors")
    if model.readout is not None:
        save_file({"readout": model.readout}, folder / _READOUT)
    facts = {
        "image_px": model.image_px,
        "tlm": model.tlm.config.to_dict(),
        "pixel_mean": model.pixel_mean,
        "pixel_std": model.pixel_std,
        "channel_ranges": CHANNEL_RANGES,
    }
    (folder / "fusar.json").write_text(json.dumps(facts, indent=1) + "\n")


def load_fusar(folder: Path) -> tuple[FusarGpt, Any]:
    """Read a checkpoint folder.

    Returns:
        The model in float32, in evaluation mode, and its ``tokenizers.Tokenizer``.

    Raises:
        ArtifactError: a file is missing or does not fit.
    """
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import Qwen2_5_VLForConditionalGeneration

    missing = [n for n in ("config.json", "tokenizer.json", "fusar.json") if not (folder / n).is_file()]
    if missing:
        raise ArtifactError(f"{folder} lacks {', '.join(missing)}: expected a folder that save_fusar wrote")
    facts = json.loads((folder / "fusar.json").read_text())
    ranges = tuple(tuple(each) for each in facts.get("channel_ranges", ()))
    if ranges != CHANNEL_RANGES:
        raise ArtifactError(
            f"got {folder} of channels {ranges or 'that it does not name'}, expected {CHANNEL_RANGES}: train "
            "it anew"
        )
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    scale = [tuple(facts.get(name, PLAIN_PIXELS)) for name in ("pixel_mean", "pixel_std")]
    model = FusarGpt(base, TokenwiseModulation(TlmConfig(**facts["tlm"])), facts["image_px"], *scale)
    try:
        model.tlm.load_state_dict(load_file(folder / "tlm.safetensors"))
    except (FileNotFoundError, RuntimeError) as error:
        raise ArtifactError(f"tlm.safetensors of {folder} does not fit fusar.json: {error}") from error
    if (folder / _READOUT).is_file():
        model.readout = load_file(folder / _READOUT)["readout"]
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
