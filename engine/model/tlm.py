"""Token-wise linear modulation (TLM): an AlphaEarth prior steers visual tokens.

A two-layer SiLU MLP turns each 64-d anchor vector into (gamma, beta); Gaussian weights spread the
anchors' values over the token grid; x' = x * (1 + gamma) + beta on the merged, raster-ordered tokens.
From FUSAR-GPT, arXiv 2602.19190.

One module, two variants:

- ``reference``: the released computation. The Gaussian is evaluated on the grid before merging (sigma in
  patches), normalised, masked, normalised again; the fields are resized bilinearly to the merged grid.
- ``fusar``: the Gaussian stands on the merged grid itself. The last layer starts at zero, so that the
  module is the identity before training. Weights are normalised over all anchors and then masked, not
  normalised again: where few anchors are valid the modulation fades, and without a prior it is the identity.

``fusar`` may also tell each token where it stands: a learned vector a place is added, prior or not. With
rotary positions alone a decoder has to work out a column from angles; a small one is often one column off.

For comparison, ``fusar`` has other ways to bring the prior in (``fusion``: a sum, or a joint projection),
another place (``place``: inside the vision tower, before its merger), and vectors of two years side by side.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import InputError

PRIOR_DIM = 64
_EPS = 1e-6


@dataclass(frozen=True)
class TlmConfig:
    """Shape and variant of the module.

    Attributes:
        channels: width of a visual token.
        hidden: width of the MLP's hidden layer; the release uses max(128, 4 * channels).
        variant: "fusar" or "reference".
        sigma: width of the Gaussian, in cells of the grid it stands on (merged tokens for "fusar",
            patches for "reference": 1 and 2 are the same distance).
        prior_dropout: in training, the share of images whose prior is withheld ("fusar" only).
        fusion: "modulate"; "sum" adds a projected prior; "concat" projects token and prior together.
        place: "tokens", after the tower's merger, or "tower", before it; ``channels`` is the width there.
        years: embeddings of so many years stand side by side in a vector, the newest first; the first layer
            can form their difference.
        places: tokens of a chip that are told where they stand; 0 tells none ("fusar" only).
        width: of a visual token, where ``channels`` is another.
    """

    channels: int
    hidden: int
    variant: Literal["fusar", "reference"] = "fusar"
    sigma: float = 1.0
    prior_dropout: float = 0.3
    fusion: Literal["modulate", "sum", "concat"] = "modulate"
    place: Literal["tokens", "tower"] = "tokens"
    years: int = 1
    places: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        """Check what contradicts itself."""
        plain = (self.fusion, self.place, self.years) == ("modulate", "tokens", 1)
        if self.variant == "reference" and not plain:
            raise InputError("got another fusion, place or years for the reference variant, expected its own")
        if self.years not in (1, 2):
            raise InputError(f"got {self.years} years of priors, expected 1 or 2")
        if self.places and self.variant == "reference":
            raise InputError("got places for the reference variant, expected none")

    def to_dict(self) -> dict[str, object]:
        """Return the fields, for a configuration file."""
        return asdict(self)


class TokenwiseModulation(nn.Module):
    """Modulates visual tokens by a prior; see the module's docstring."""

    def __init__(self, config: TlmConfig) -> None:
        super().__init__()
        self.config = config
        # The key names of the released vec64_film.pt: "0.weight", "0.bias", "2.weight", "2.bias".
        parts = 2 if config.fusion == "modulate" else 1
        last = nn.Linear(config.hidden, parts * config.channels)
        self.mlp = nn.Sequential(nn.Linear(PRIOR_DIM * config.years, config.hidden), nn.SiLU(), last)
        if config.variant == "fusar":
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        if config.places:
            self.places = nn.Parameter(torch.zeros(config.places, config.width or config.channels))
        if config.fusion == "concat":
            self.join = nn.Linear(2 * config.channels, config.channels)
            with torch.no_grad():  # the identity on the token; the prior's half waits for a prior that speaks
                self.join.weight[:, : config.channels] = torch.eye(config.channels)
                self.join.bias.zero_()

    def forward(
        self, tokens: Tensor, vectors: Tensor, positions: Tensor, mask: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Modulate tokens.

        Args:
            tokens: merged visual tokens in raster order, [B, h * w, C]; or those that the merger will join,
                [B, h * w, n, C].
            vectors: anchor vectors, [B, S, 64 * years]; any finite value where the mask is False.
            positions: anchors' (y, x) in [0, 1], [B, S, 2].
            mask: True where an anchor is valid, [B, S].
            grid: (h, w) of the merged grid.

        Returns:
            Tokens, shaped as they came.

        Raises:
            InputError: the grid does not fit the tokens, or the vectors are of more or fewer years.
        """
        if vectors.shape[-1] != PRIOR_DIM * self.config.years:
            raise InputError(
                f"got priors {vectors.shape[-1]} wide, expected {PRIOR_DIM * self.config.years}: of "
                f"{self.config.years} year(s)"
            )
        if tokens.shape[1] != grid[0] * grid[1]:
            raise InputError(
                f"got {tokens.shape[1]} tokens for a grid of {grid}, expected {grid[0] * grid[1]}"
            )
        if self.config.variant == "fusar":
            if self.training and self.config.prior_dropout > 0:
                keep = torch.rand(len(mask), 1, device=mask.device) >= self.config.prior_dropout
                mask = mask & keep
            weights = gaussian_weights(positions, grid, self.config.sigma)
            weights = weights * mask.to(weights.dtype).unsqueeze(1)
            fields = weights @ self.mlp(vectors).float()
        else:
            fields = self._reference_fields(vectors, positions, mask, grid)
        fields = fields.to(tokens.dtype)
        if tokens.ndim == 4:  # [B, h * w, patches of a token, C], before the merger
            fields = fields.unsqueeze(2).expand(*tokens.shape[:3], -1)
        if self.config.fusion == "sum":
            return tokens + fields
        if self.config.fusion == "concat":
            return self.join(torch.cat([tokens, fields], dim=-1))
        gamma, beta = fields.chunk(2, dim=-1)
        return tokens * (1 + gamma) + beta

    def widen(self, years: int) -> None:
        """Take vectors of more years from now on; until it is trained, what is added changes nothing."""
        more = PRIOR_DIM * (years - self.config.years)
        self.config = replace(self.config, years=years)
        old = cast(nn.Linear, self.mlp[0])
        new = nn.Linear(PRIOR_DIM * years, self.config.hidden).to(old.weight)
        with torch.no_grad():
            new.weight.copy_(F.pad(old.weight, (0, more)))
            new.bias.copy_(old.bias)
        self.mlp[0] = new

    def placed(self, tokens: Tensor) -> Tensor:
        """Tell visual tokens where they stand, [B, tokens, C]; unchanged without places.

        Raises:
            InputError: there are more or fewer tokens than places.
        """
        if not self.config.places:
            return tokens
        if tokens.shape[1] != self.config.places:
            raise InputError(f"got {tokens.shape[1]} tokens, expected {self.config.places}: one a place")
        return tokens + self.places.to(tokens.dtype)

    def _reference_fields(
        self, vectors: Tensor, positions: Tensor, mask: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        patches = (2 * grid[0], 2 * grid[1])
        weights = gaussian_weights(positions, patches, self.config.sigma)
        weights = weights * mask.to(weights.dtype).unsqueeze(1)
        weights = weights / (weights.sum(-1, keepdim=True) + _EPS)
        fields = weights @ self.mlp(vectors).float()
        image = fields.transpose(1, 2).unflatten(2, patches)
        small = F.interpolate(image, size=grid, mode="bilinear", align_corners=False)
        return small.flatten(2).transpose(1, 2)


def gaussian_weights(positions: Tensor, grid: tuple[int, int], sigma: float) -> Tensor:
    """Return each grid cell's weights over the anchors, normalised to a sum of 1.

    Positions in [0, 1] are scaled by (rows - 1, columns - 1); w = exp(-d^2 / (2 sigma^2)).

    Args:
        positions: (y, x), [B, S, 2].
        grid: (rows, columns).
        sigma: in cells.

    Returns:
        Weights in float32, [B, rows * columns, S].
    """
    rows, cols = grid
    scale = positions.new_tensor([rows - 1, cols - 1], dtype=torch.float32)
    anchors = positions.float() * scale
    y = torch.arange(rows, device=positions.device, dtype=torch.float32)
    x = torch.arange(cols, device=positions.device, dtype=torch.float32)
    cells = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(1, rows * cols, 1, 2)
    distance2 = (cells - anchors.unsqueeze(1)).square().sum(-1)
    weights = torch.exp(-distance2 / (2 * sigma**2))
    return weights / (weights.sum(-1, keepdim=True) + _EPS)
