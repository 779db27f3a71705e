"""Cells that hold no data, or lie too near where it ends."""

from __future__ import annotations

import numpy as np

BORDER_ROWS, NEAR_ROWS = 32, 2


def unsound_cells(zeros, mean_dn2, noise_dn2, rows_above, rows_below, border_px):
    missing = zeros >= 25
    p = np.pad(missing, NEAR_ROWS)
    out = np.zeros_like(missing)
    n, m = missing.shape
    for i in range(2 * NEAR_ROWS + 1):
        for j in range(2 * NEAR_ROWS + 1):
            out |= p[i : i + n, j : j + m]
    return out
