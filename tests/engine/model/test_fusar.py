"""The model: our fixed grid and explicit forward give what transformers gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import ArtifactError, InputError
from engine.model.fusar import PriorBatch, load_fusar, new_fusar, save_fusar
from engine.model.nano import IMAGE_PX, build_nano
from engine.model.vision import FixedGridVision
from engine.runtime.image import patches as cut_patches
from engine.runtime.text import Request, prompt

SIDE = 18


@pytest.fixture(scope="module")
def nano():
    base, tokenizer = build_nano(seed=1)
    return new_fusar(base.eval(), IMAGE_PX).eval(), tokenizer


def _patches(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(cut_patches(rng.integers(0, 256, (count, 3, 126, 126), dtype=np.uint8), IMAGE_PX))


def _packed(patches: torch.Tensor) -> torch.Tensor:
    """The form of transformers' processor: both frames, images one after another."""
    frames = patches.reshape(-1, 3, 1, 14 * 14).expand(-1, -1, 2, -1)
    return frames.reshape(-1, 3 * 2 * 14 * 14)


@pytest.mark.parametrize("window_px", [84, 112])
def test_fixed_grid_equals_transformers_tower(window_px: int) -> None:
    base, _ = build_nano(seed=2)
    tower = base.eval().model.visual
    tower.config.window_size = tower.window_size = window_px
    patches = _patches(3)
    with torch.no_grad():
        ours = FixedGridVision(tower, SIDE)(patches)
        theirs = tower(_packed(patches), torch.tensor([[1, SIDE, SIDE]] * 3)).pooler_output
    torch.testing.assert_close(ours.reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-5)


def test_forward_without_prior_equals_transformers(nano) -> None:
    model, tokenizer = nano
    text = prompt(_request(), [model.image_tokens]) + '[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}]'
    ids = torch.tensor([tokenizer.encode(text).ids] * 2)
    patches = _patches(2)
    with torch.no_grad():
        ours = model(ids, torch.ones_like(ids), patches, PriorBatch.absent(2)).logits
        theirs = model.base(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=_packed(patches),
            image_grid_thw=torch.tensor([[1, SIDE, SIDE]] * 2),
            mm_token_type_ids=(ids == model.base.config.image_token_id).int(),
        ).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_positions_follow_the_image_grid(nano) -> None:
    model, tokenizer = nano
    ids = torch.tensor([tokenizer.encode(prompt(_request(), [model.image_tokens])).ids])
    places = ids[0] == model.base.config.image_token_id
    rows, cols = model.positions(ids)[1:, 0, places]
    # Text positions would rise by one a token; a grid's columns repeat in every row.
    assert torch.equal(cols - cols[0], torch.arange(81) % 9)
    assert torch.equal(rows - rows[0], torch.arange(81) // 9)


def test_embed_refuses_a_wrong_count_of_image_tokens(nano) -> None:
    model, _ = nano
    with pytest.raises(InputError, match="image tokens"):
        model.embed(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 81, 192))


def test_checkpoint_round_trip(nano, tmp_path) -> None:
    model, tokenizer = nano
    save_fusar(model, tokenizer, tmp_path)
    again, _ = load_fusar(tmp_path)
    for (name, one), (_, two) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, two), name
    (tmp_path / "fusar.json").unlink()
    with pytest.raises(ArtifactError, match="fusar.json"):
        load_fusar(tmp_path)


def _request() -> Request:
    from types import SimpleNamespace

    return Request("detection", (np.zeros((3, 126, 126), np.uint8),), (SimpleNamespace(),))  # type: ignore[arg-type]


def test_modulation_inside_the_tower_is_in_raster_order(nano) -> None:
    """What the merger joins is told apart by place: marking one token's patches changes that token alone."""
    vision = nano[0].vision
    patches = torch.randn(1, vision.side**2, 3 * 14 * 14)
    with torch.no_grad():
        plain = vision(patches)
        assert torch.allclose(vision(patches, lambda units: units), plain, atol=1e-5)
        place = vision.tokens_side + 3

        def mark(units):
            units = units.clone()
            units[:, place] += 1.0 + torch.arange(units.shape[-1])
            return units

        changed = (vision(patches, mark) - plain).abs().amax(-1)[0]
    assert int(changed.argmax()) == place
    assert float(changed[torch.arange(len(changed)) != place].max()) < 1e-5
