"""Names of Sentinel-1 products, and when two products are one acquisition.

A name states platform, mode, type, resolution, level, class, polarisations, sensing start and stop, absolute
orbit, datatake and the product's own four digits; `_COG` marks the cloud-optimised twin of a product. The
last four digits identify the product, not the acquisition: a reprocessed product has others, and so has the
cloud-optimised twin. What is processed is listed in `docs/products.md`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from daemon.errors import SceneUnsupported

Kind = Literal["SAFE", "COG", "AWS"]

# What each code of the name holds, co-polarised first.
POLARISATIONS: dict[str, tuple[str, ...]] = {
    "SH": ("HH",),
    "SV": ("VV",),
    "DH": ("HH", "HV"),
    "DV": ("VV", "VH"),
    "HH": ("HH",),
    "VV": ("VV",),
    "HV": ("HV",),
    "VH": ("VH",),
}

ORBITS_A_CYCLE = 175
# relative = (absolute - offset) mod 175 + 1. S1C changed its orbit in June 2026, after absolute orbit 8018.
_OFFSETS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
_S1C_MOVED, _S1C_OFFSET = 8018, 99

STRIPMAPS = ("S1", "S2", "S3", "S4", "S5", "S6")

_PATTERN = re.compile(
    r"(?P<platform>S1[ABCD])_(?P<mode>IW|EW|WV|EN|S[1-6]|N[1-6])_(?P<type>GRD|SLC|OCN|RAW)(?P<resolution>[FHM_])_"
    r"(?P<level>[012])(?P<product_class>[SANC])(?P<polarisation>[SD][HV]|HH|VV|HV|VH)_"
    r"(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_(?P<orbit>\d{6})_(?P<datatake>[0-9A-F]{6})_"
    r"(?P<unique>[0-9A-F]{4})(?P<cog>_COG)?(\.SAFE)?(\.zip)?"
)
_TIME = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class ProductName:
    """A product's name, taken apart."""

    platform: str  # S1A to S1D
    mode: str  # IW, EW, WV, S1 to S6 (StripMap); EN, N1 to N6 (calibration)
    product_type: str  # GRD, SLC, OCN, RAW
    resolution: str  # F, H, M; _ where it does not apply
    level: int
    product_class: str  # S standard, A annotation, N noise, C calibration
    polarisation: str  # SH, SV, DH, DV, or one polarisation of a dual acquisition
    start: datetime
    stop: datetime
    absolute_orbit: int
    datatake: int
    unique_id: str
    kind: Kind = "SAFE"

    @classmethod
    def parse(cls, text: str, kind: Kind | None = None) -> ProductName:
        """Take a name apart, with or without `.SAFE`, `_COG.SAFE` or `.zip`.

        Args:
            text: the name; no folders.
            kind: layout of the files, where the name does not tell (AWS).

        Raises:
            SceneUnsupported: not the name of a Sentinel-1 product.
        """
        match = _PATTERN.fullmatch(text)
        try:
            if match is None:
                raise ValueError("the form differs")
            start, stop = (
                datetime.strptime(match[name], _TIME).replace(tzinfo=timezone.utc)
                for name in ("start", "stop")
            )
        except ValueError as error:
            raise SceneUnsupported(
                f"got the product name {text!r} ({error}), expected one such as "
                "S1A_IW_GRDH_1SDV_20221002T205126_20221002T205156_045268_056950_0664.SAFE"
            ) from None
        return cls(
            match["platform"],
            match["mode"],
            match["type"],
            match["resolution"],
            int(match["level"]),
            match["product_class"],
            match["polarisation"],
            start,
            stop,
            int(match["orbit"]),
            int(match["datatake"], 16),
            match["unique"],
            kind or ("COG" if match["cog"] else "SAFE"),
        )

    @property
    def id(self) -> str:
        """The name without ending; the COG twin's carries `_COG`."""
        return (
            f"{self.platform}_{self.mode}_{self.product_type}{self.resolution}_{self.level}{self.product_class}"
            f"{self.polarisation}_{self.start:{_TIME}}_{self.stop:{_TIME}}_{self.absolute_orbit:06d}_"
            f"{self.datatake:06X}_{self.unique_id}" + ("_COG" if self.kind == "COG" else "")
        )

    def __str__(self) -> str:
        return self.id if self.kind == "AWS" else f"{self.id}.SAFE"

    @property
    def polarisations(self) -> tuple[str, ...]:
        """The polarisations that the product promises, co-polarised first."""
        return POLARISATIONS[self.polarisation]

    @property
    def stripmap(self) -> bool:
        """Whether the mode is StripMap; its names state the beam."""
        return self.mode in STRIPMAPS

    @property
    def relative_orbit(self) -> int:
        """The relative orbit by formula; products of a commissioning phase differ, their manifest rules."""
        moved = self.platform == "S1C" and self.absolute_orbit > _S1C_MOVED
        offset = _S1C_OFFSET if moved else _OFFSETS[self.platform]
        return (self.absolute_orbit - offset) % ORBITS_A_CYCLE + 1


_REASONS = {
    "SLC": "its pixels are complex and in slant range: fetch the GRD product of the same datatake",
    "RAW": "it holds echoes, not an image: fetch the GRD product of the same datatake",
    "OCN": "it holds wind and waves, not an image: fetch the GRD product of the same datatake",
    "class": "it holds no pixels: fetch the standard product (class S)",
    "WV": "wave mode takes vignettes of 20 km, in which no ship traffic is looked for: nothing to do",
    "mode": "a mode for calibration, of which no image is made: nothing to do",
    "level": "that combination is not known: correct the name, or fetch the product again",
}


def check_supported(name: ProductName) -> None:
    """Refuse a product that is not processed, by its name alone.

    Raises:
        SceneUnsupported: anything but a standard GRD product of IW, EW or StripMap; says why and what to do.
    """
    if name.product_type != "GRD":
        reason = name.product_type
    elif name.product_class != "S":
        reason = "class"
    elif name.mode == "WV":
        reason = "WV"
    elif name.mode not in ("IW", "EW", *STRIPMAPS):
        reason = "mode"
    elif name.level != 1 or name.resolution == "_":
        reason = "level"
    else:
        return
    what = f"{name.mode} {name.product_type}{name.resolution.strip('_')}"
    raise SceneUnsupported(
        f"{name}: got {what} of level {name.level}, class {name.product_class}, expected a GRD of level 1, "
        f"class S, of IW, EW or StripMap; {_REASONS[reason]}"
    )


def same_acquisition(a: ProductName, b: ProductName) -> bool:
    """Whether two products show one acquisition: SAFE and COG, near-real-time and reprocessed.

    The same platform, datatake, mode and polarisations, and times that overlap by at least half of the
    shorter: providers slice one datatake differently, and neighbouring slices only touch.
    """
    if (a.platform, a.datatake, a.mode, a.polarisation) != (b.platform, b.datatake, b.mode, b.polarisation):
        return False
    overlap = min(a.stop, b.stop) - max(a.start, b.start)
    shorter = min(a.stop - a.start, b.stop - b.start)
    return 2 * overlap >= shorter
