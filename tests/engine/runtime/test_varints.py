from __future__ import annotations

import numpy as np

from engine.runtime.varints import pack_varints, unpack_varints, unzigzag, zigzag


def test_varints_return_what_was_packed() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([np.arange(300), rng.integers(0, 2**31, 200), [0, 127, 128, 2**34]])
    np.testing.assert_array_equal(unpack_varints(pack_varints(values)), values)
    signed = np.concatenate([values, -values])
    np.testing.assert_array_equal(unzigzag(zigzag(signed)), signed)
