"""What pretraining adds to nano: heads that are dropped afterwards, and their losses.

Text alone teaches a small model slowly where things are. Three helpers:

- a frozen linear head reads classes and boxes off each visual token along fixed orthonormal directions,
  so that vision and decoder can be trained apart and meet at a known interface;
- the decoder's state at an object's image token must name the object's coordinates;
- a pointer from each answer token must find the image token of its object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.model.fusar import FusarGpt
from engine.model.nano import IMAGE_PX
from engine.runtime.prior import anchor_positions
from engine.runtime.text import LABELS
from engine.train.nano_batch import IGNORE

CLASSES = len(LABELS)
_BOX_SCALE = 4.0
_PLACE_WEIGHT = 3.0  # of centres against sizes: a match asks for the centre
_PLACE_SCALE = 0.25  # a visual token's numbers are about one
_SOFT_SD = 1.5  # of coordinate targets, in pixels of the enlarged chip


class Pretrainer(nn.Module):
    """Nano with the heads of pretraining.

    Args:
        model: nano.
        number_ids: token ids of the integers from 0 to the chip's side.
    """

    directions: Tensor
    scale: Tensor
    number_ids: Tensor
    value_of: Tensor

    def __init__(self, model: FusarGpt, number_ids: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        width = model.base.config.text_config.hidden_size
        generator = torch.Generator().manual_seed(5)
        basis = torch.linalg.qr(torch.randn(width, CLASSES + 4, generator=generator))[0].T
        self.register_buffer("directions", basis.contiguous())
        self.register_buffer("scale", torch.tensor([1.0] * CLASSES + [_BOX_SCALE] * 4))
        ids = torch.tensor(number_ids)
        value_of = torch.full((model.base.config.text_config.vocab_size,), -1)
        value_of[ids] = torch.arange(len(ids))
        self.register_buffer("number_ids", ids)
        self.register_buffer("value_of", value_of)
        self.coordinates = nn.Linear(width, 4 * width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.coordinates.weight, 0, 0.5 * width**-0.5)
        self._init_numbers()
        self._init_places()

    def _init_places(self) -> None:
        """Start what tells tokens their places as Fourier features, at right angles to the interface."""
        places = self.model.tlm.places
        count, width = places.shape
        side = math.isqrt(count)
        frequency = torch.exp(torch.linspace(math.log(math.pi), math.log(side * math.pi), width // 4))
        angle = (torch.arange(side)[:, None] + 0.5) / side * frequency
        wave = torch.cat([torch.sin(angle), torch.cos(angle)], 1)  # [side, width / 2]
        features = torch.cat([wave.repeat_interleave(side, 0), wave.repeat(side, 1)], 1)
        features = features - (features @ self.directions.T) @ self.directions
        with torch.no_grad():
            places.copy_(_PLACE_SCALE * features)

    def _init_numbers(self) -> None:
        """Start the integers' embeddings as Fourier features, so that neighbours are alike."""
        base = self.model.base
        numbers = torch.arange(IMAGE_PX + 1)[:, None] / IMAGE_PX
        width = base.config.text_config.hidden_size
        frequency = torch.exp(torch.linspace(1.145, 1.145 + 3.689, width // 2))[None]  # pi to 40 pi
        features = torch.cat([torch.sin(numbers * frequency), torch.cos(numbers * frequency)], 1)
        with torch.no_grad():
            for table in (base.get_input_embeddings().weight, base.lm_head.weight):
                table.normal_(0, 0.02)
                table[self.number_ids] = 0.03 * features

    def read(self, visual: Tensor) -> Tensor:
        """Read class logits and box offsets off visual tokens, [B, 81, CLASSES + 4]."""
        return visual.float() @ self.directions.T / self.scale

    def symbols(self, present: Tensor, offsets: Tensor) -> Tensor:
        """Write objects as visual tokens with noise: what a good vision tower would say."""
        some = present.amax(-1, keepdim=True) > 0
        logits = (present * 2 - 1) * 3.5 + 0.8 * torch.randn_like(present)
        box = torch.where(some, offsets + 0.03 * torch.randn_like(offsets), 0.5 * torch.randn_like(offsets))
        along = torch.cat([logits, box], -1) * self.scale
        noise = 0.25 * torch.randn(*along.shape[:2], self.directions.shape[1])
        noise = noise - (noise @ self.directions.T) @ self.directions
        return along @ self.directions + noise

    def decode(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden states of embeddings [B, T, C], and those of the last layer but one."""
        text = self.model.base.model.language_model
        length = x.shape[1]
        mask = torch.full((length, length), -1e4, dtype=x.dtype).triu(1)[None, None]
        rotary = text.rotary_emb(x, positions)
        middle = x
        for index, layer in enumerate(text.layers):
            x = layer(x, attention_mask=mask, position_embeddings=rotary, position_ids=None)
            if index == len(text.layers) - 2:
                middle = x
        return text.norm(x), text.norm(middle)

    def dense_loss(self, visual: Tensor, present: Tensor, offsets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Focal loss of the classes and L1 of the boxes, per object."""
        read = self.read(visual)
        logits, box = read[..., :CLASSES], read[..., CLASSES:]
        some = present.amax(-1) > 0
        count = some.sum().clamp(min=1)
        right = torch.where(present > 0, logits.sigmoid(), 1 - logits.sigmoid())
        cross = F.binary_cross_entropy_with_logits(logits, present, reduction="none")
        focal = (cross * (1 - right) ** 2).sum() / count
        slip = (box[some] - offsets[some]).abs().sum(0) / count
        place, size = slip[:2].sum(), slip[2:].sum()
        loss = focal + _PLACE_WEIGHT * place + size
        return loss, {"focal": focal.item(), "place": place.item() / 2, "size": size.item() / 2}

    def text_loss(
        self, hidden: Tensor, middle: Tensor, ids: Tensor, labels: Tensor, owner: Tensor, edges: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the answer, with coordinates as soft targets, and both helpers' losses."""
        model, base = self.model, self.model.base
        width = hidden.shape[-1]
        asked = labels != IGNORE
        target = labels[asked]
        logits = base.lm_head(hidden[asked]).float()
        log_p = logits.log_softmax(-1)
        number = (self.value_of[target] >= 0) & (owner[asked] >= 0)
        value = self.value_of[target[number]]
        words = -log_p[~number].gather(1, target[~number][:, None]).sum()
        soft = self.soft(log_p[number], value)
        loss = (words + soft.sum()) / len(target)
        said = logits[number][:, self.number_ids].argmax(1)
        facts = {
            "words": words.item() / max(1, int((~number).sum())),
            "slip_px": _mean((said - value).abs()),
        }
        images = (ids == base.config.image_token_id).nonzero()[:, 1].reshape(len(ids), model.image_tokens)
        cells = images + torch.arange(len(ids))[:, None] * ids.shape[1]
        some = edges[..., 0] >= 0
        if some.any():
            at_image = hidden.reshape(-1, width)[cells][some]
            named = base.lm_head(self.coordinates(at_image).view(-1, width)).float().log_softmax(-1)
            loss = loss + 0.5 * self.soft(named, edges[some].reshape(-1)).mean()
        points = owner >= 0
        if points.any():
            keys = self.key(middle.reshape(-1, width)[cells])
            score = (self.query(middle) @ keys.transpose(1, 2) * width**-0.5).float()[points]
            loss = loss + 0.5 * F.cross_entropy(score, owner[points])
            facts["pointer"] = _mean((score.argmax(1) == owner[points]).float())
        return loss, facts

    def soft(self, log_p: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy against a narrow Gaussian around a number, [n]."""
        step = torch.arange(-4, 5)
        near = value[:, None] + step
        weight = torch.exp(-0.5 * (step / _SOFT_SD) ** 2) * ((near >= 0) & (near <= IMAGE_PX))
        weight = weight / weight.sum(1, keepdim=True)
        return -(weight * log_p.gather(1, self.number_ids[near.clamp(0, IMAGE_PX)])).sum(1)


def modulated(model: FusarGpt, visual: Tensor, vectors: Tensor, known: Tensor) -> Tensor:
    """Return visual tokens as the decoder is shown them: modulated by the prior, told their places."""
    side = math.isqrt(visual.shape[1])
    anchors = torch.from_numpy(anchor_positions()).expand(len(visual), -1, -1)
    return model.tlm.placed(model.tlm(visual, vectors, anchors, known, (side, side)))


def positions(model: FusarGpt, ids: Tensor) -> Tensor:
    """Return M-RoPE positions, [3, B, T], of prompts with any images; as ``FusarGpt.positions``, faster."""
    places = ids == model.base.config.image_token_id
    tokens = model.image_tokens
    side = math.isqrt(tokens)
    index = torch.arange(ids.shape[1])[None].expand_as(ids)
    seen = places.cumsum(1)  # image tokens up to here, this one included
    text = index - seen // tokens * (tokens - side)
    ordinal = (seen - 1).clamp(min=0)
    inside = ordinal % tokens
    first = index - inside - ordinal // tokens * (tokens - side)
    rows = torch.where(places, first + inside // side, text)
    cols = torch.where(places, first + inside % side, text)
    return torch.stack([torch.where(places, first, text), rows, cols])


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if len(values) else float("nan")
