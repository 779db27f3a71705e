"""TLM: the reference variant against a plain evaluation; ours is the identity where it must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.model.tlm import PRIOR_DIM, TlmConfig, TokenwiseModulation, gaussian_weights

CHANNELS, GRID, ANCHORS = 6, (4, 5), 7


def given(seed: int = 0, batch: int = 3, grid: tuple[int, int] = GRID):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, grid[0] * grid[1], CHANNELS, generator=generator)
    vectors = torch.randn(batch, ANCHORS, PRIOR_DIM, generator=generator) * 0.2
    positions = torch.rand(batch, ANCHORS, 2, generator=generator)
    mask = torch.rand(batch, ANCHORS, generator=generator) < 0.6
    return tokens, vectors, positions, mask


def module(variant: str, seed: int = 1, **changes) -> TokenwiseModulation:
    torch.manual_seed(seed)
    made = TokenwiseModulation(TlmConfig(CHANNELS, 16, variant=variant, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        made.mlp[2].weight.normal_(0, 0.3)
        made.mlp[2].bias.normal_(0, 0.3)
    return made


def plain_reference(
    made: TokenwiseModulation, tokens, vectors, positions, mask, sigma: float, grid: tuple[int, int]
) -> np.ndarray:
    """The released computation in loops of doubles: Gaussian on the unmerged grid, then resized by two."""
    weights = {name: value.detach().double().numpy() for name, value in made.mlp.state_dict().items()}
    rows, cols = grid
    out = np.empty(tuple(tokens.shape))
    for b in range(len(tokens)):
        hidden = vectors[b].double().numpy() @ weights["0.weight"].T + weights["0.bias"]
        values = hidden / (1 + np.exp(-hidden)) @ weights["2.weight"].T + weights["2.bias"]
        field = np.zeros((2 * rows, 2 * cols, 2 * CHANNELS))
        for y in range(2 * rows):
            for x in range(2 * cols):
                anchors = positions[b].double().numpy() * [2 * rows - 1, 2 * cols - 1]
                w = np.exp(-((anchors - [y, x]) ** 2).sum(1) / (2 * sigma**2))
                w = w / (w.sum() + 1e-6) * mask[b].numpy()
                w = w / (w.sum() + 1e-6)
                field[y, x] = w @ values
        for y in range(rows):
            for x in range(cols):
                # Halving bilinearly without antialiasing is the mean of the four cells.
                gamma, beta = np.split(field[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)), 2)
                out[b, y * cols + x] = tokens[b, y * cols + x].double().numpy() * (1 + gamma) + beta
    return out


@pytest.mark.parametrize("grid", [GRID, (3, 3), (9, 9), (1, 6)])
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_reference_variant_is_the_released_computation(sigma: float, grid: tuple[int, int]) -> None:
    made = module("reference", sigma=sigma)
    tokens, vectors, positions, mask = given(grid=grid)
    mask[0] = False
    with torch.no_grad():
        got = made(tokens, vectors, positions, mask, grid)
    assert got.dtype == torch.float32
    expected = plain_reference(made, tokens, vectors, positions, mask, sigma, grid)
    assert np.abs(got.double().numpy() - expected).max() / np.abs(expected).max() < 1e-6


def test_ours_is_the_identity_before_training() -> None:
    fresh = TokenwiseModulation(TlmConfig(CHANNELS, 16)).eval()
    tokens, vectors, positions, mask = given()
    with torch.no_grad():
        assert torch.equal(fresh(tokens, vectors, positions, mask, GRID), tokens)


def test_ours_is_the_identity_without_a_prior_whatever_the_vectors() -> None:
    tokens, vectors, positions, mask = given()
    with torch.no_grad():
        out = module("fusar")(tokens, vectors, positions, torch.zeros_like(mask), GRID)
    assert torch.equal(out, tokens)


def test_ours_fades_as_anchors_go_missing_and_stays_local() -> None:
    made = module("fusar")
    tokens, vectors, _, _ = given(batch=1)
    positions = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    vectors = vectors[:, :2]
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    with torch.no_grad():
        moved_both = (made(tokens, vectors, positions, both, GRID) - tokens).abs()[0].sum(-1)
        moved_first = (made(tokens, vectors, positions, first, GRID) - tokens).abs()[0].sum(-1)
    assert moved_first[0] == pytest.approx(float(moved_both[0]), rel=1e-3)  # beside the anchor that is there
    assert moved_first[-1] < 1e-2 * moved_both[-1]  # beside the one that is missing
    assert moved_first[0] > 0.01


def test_withheld_vectors_do_not_matter() -> None:
    for variant in ("fusar", "reference"):
        made = module(variant)
        tokens, vectors, positions, mask = given()
        changed = torch.where(mask.unsqueeze(-1), vectors, torch.full_like(vectors, 9.0))
        with torch.no_grad():
            torch.testing.assert_close(
                made(tokens, vectors, positions, mask, GRID), made(tokens, changed, positions, mask, GRID)
            )


def test_priors_are_dropped_in_training_only() -> None:
    made = module("fusar", prior_dropout=0.999999)
    tokens, vectors, positions, mask = given()
    mask[:] = True
    with torch.no_grad():
        assert torch.equal(made.train()(tokens, vectors, positions, mask, GRID), tokens)
        assert not torch.equal(made.eval()(tokens, vectors, positions, mask, GRID), tokens)


def test_weights_sum_to_one_and_peak_at_the_nearest_anchor() -> None:
    positions = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    weights = gaussian_weights(positions, GRID, 1.0)[0]
    torch.testing.assert_close(weights.sum(-1)[0], torch.tensor(1.0), atol=1e-4, rtol=0)
    assert weights[0].argmax() == 0
    assert weights[-1].argmax() == 1


def test_a_grid_that_does_not_fit_is_refused() -> None:
    tokens, vectors, positions, mask = given()
    with pytest.raises(InputError, match="expected 9"):
        module("fusar")(tokens, vectors, positions, mask, (3, 3))


@pytest.mark.parametrize("fusion", ["modulate", "sum", "concat"])
@pytest.mark.parametrize("years", [1, 2])
def test_every_fusion_begins_as_the_identity_and_learns(fusion: str, years: int) -> None:
    torch.manual_seed(0)
    made = TokenwiseModulation(TlmConfig(CHANNELS, 16, fusion=fusion, years=years, prior_dropout=0.0))
    tokens, vectors, positions, mask = given()
    vectors = torch.cat([vectors] * years, dim=-1)
    assert torch.equal(made(tokens, vectors, positions, mask, GRID), tokens)
    target = torch.randn_like(tokens)
    optimizer = torch.optim.Adam(made.parameters(), 0.05)
    first = None
    for _ in range(30):
        loss = (made(tokens, vectors, positions, mask, GRID) - target).square().mean()
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.95 * first


def test_places_are_told_with_a_prior_and_without_and_begin_as_the_identity() -> None:
    tokens, vectors, positions, mask = given()
    made = TokenwiseModulation(TlmConfig(CHANNELS, 16, places=tokens.shape[1])).eval()
    assert (made.placed(tokens) == tokens).all()
    with torch.no_grad():
        made.places.normal_()
    nothing = torch.zeros_like(mask)
    told = made.placed(made(tokens, vectors, positions, nothing, GRID)) - tokens
    assert torch.allclose(told, made.places.expand_as(told), atol=1e-6)
    with pytest.raises(InputError, match="one a place"):
        made.placed(tokens[:, 1:])
    assert (module("fusar").placed(tokens) == tokens).all()


def test_the_reference_has_no_other_form() -> None:
    for changes in ({"fusion": "sum"}, {"place": "tower"}, {"years": 2}):
        with pytest.raises(InputError, match="reference"):
            TlmConfig(CHANNELS, 16, variant="reference", **changes)
    with pytest.raises(InputError, match="years"):
        TlmConfig(CHANNELS, 16, years=3)
    with pytest.raises(InputError, match="places"):
        TlmConfig(CHANNELS, 16, variant="reference", places=4)


def test_units_before_the_merger_share_their_tokens_field() -> None:
    made = module("fusar")
    tokens, vectors, positions, mask = given()
    units = torch.stack([tokens, 2 * tokens], dim=2)
    got = made(units, vectors, positions, mask, GRID)
    assert torch.allclose(got[:, :, 0], made(tokens, vectors, positions, mask, GRID))
    assert torch.allclose(got[:, :, 1], made(2 * tokens, vectors, positions, mask, GRID))


def test_a_year_more_changes_nothing_until_it_is_learned() -> None:
    made = module("fusar")
    tokens, vectors, positions, mask = given()
    before = made(tokens, vectors, positions, mask, GRID)
    both = torch.cat([vectors, torch.randn_like(vectors)], dim=-1)
    with pytest.raises(InputError, match="expected 64"):
        made(tokens, both, positions, mask, GRID)
    made.widen(2)
    assert made.config.years == 2
    torch.testing.assert_close(made(tokens, both, positions, mask, GRID), before)
    with pytest.raises(InputError, match="expected 128"):
        made(tokens, vectors, positions, mask, GRID)
    made(tokens, both, positions, mask, GRID).square().sum().backward()
    assert made.mlp[0].weight.grad[:, PRIOR_DIM:].abs().max() > 0  # and it can be learned
