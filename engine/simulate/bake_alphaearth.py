"""Bake class statistics of AlphaEarth vectors: ``python -m engine.simulate.bake_alphaearth CSV... OUT.npz``.

Reads tables of real vectors with their Dynamic World class and Sentinel-1 backscatter, and writes per
class the mean and a low-rank factor of the covariance, with the backscatter's mean and spread. The
simulator draws its vectors from them, so that no real vector ships with the package.

AlphaEarth Foundations satellite embedding, Google / Google DeepMind, CC-BY-4.0.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.simulate.landcover import CLASSES

CHANNELS = 64
RANK = 8
ATTRIBUTION = "AlphaEarth Foundations satellite embedding, Google / Google DeepMind, CC-BY-4.0"


def bake(tables: list[Path], out: Path) -> None:
    """Write the class statistics of some tables.

    Args:
        tables: CSV files with columns A00 to A63, dw_label, S1_VV and S1_VH (dB).
        out: the .npz to write: mean [C, 64], factor [C, RANK, 64], backscatter_db [C, 2, 2] (VV and VH;
            mean and standard deviation), classes [C], attribution.

    Raises:
        InputError: a class has too few vectors.
    """
    rows = [row for table in tables for row in csv.DictReader(table.open(newline=""))]
    labels = np.array([int(float(row["dw_label"])) for row in rows])
    vectors = np.array([[float(row[f"A{i:02d}"]) for i in range(CHANNELS)] for row in rows])
    echoes = np.array([[float(row["S1_VV"]), float(row["S1_VH"])] for row in rows])
    means, factors, backscatter = [], [], []
    for label, name in enumerate(CLASSES):
        chosen = labels == label
        if chosen.sum() <= RANK:
            raise InputError(f"got {chosen.sum()} vectors of class {name}, expected more than {RANK}")
        mean = vectors[chosen].mean(0)
        _, scale, basis = np.linalg.svd(vectors[chosen] - mean, full_matrices=False)
        means.append(mean)
        factors.append(basis[:RANK] * scale[:RANK, None] / np.sqrt(chosen.sum() - 1))
        known = echoes[chosen][np.isfinite(echoes[chosen]).all(1)]
        backscatter.append(np.stack([known.mean(0), known.std(0)], 1))
    np.savez_compressed(
        out,
        mean=np.array(means, np.float32),
        factor=np.array(factors, np.float32),
        backscatter_db=np.array(backscatter, np.float32),
        classes=np.array(CLASSES),
        attribution=np.array(ATTRIBUTION),
    )


if __name__ == "__main__":
    *inputs, output = (Path(argument) for argument in sys.argv[1:])
    bake(inputs, output)
