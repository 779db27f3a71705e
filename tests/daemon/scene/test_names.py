from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import SceneUnsupported
from daemon.scene.names import POLARISATIONS, ProductName, check_supported, same_acquisition

PALAU = "S1A_IW_GRDH_1SDV_20221002T205126_20221002T205156_045268_056950_0664.SAFE"

seconds = st.datetimes(datetime(2014, 4, 3), datetime(2050, 1, 1)).map(
    lambda t: t.replace(microsecond=0, tzinfo=timezone.utc)
)
names = st.builds(
    ProductName,
    platform=st.sampled_from(["S1A", "S1B", "S1C", "S1D"]),
    mode=st.sampled_from(["IW", "EW", "WV", "EN", *(f"{kind}{i}" for kind in "SN" for i in range(1, 7))]),
    product_type=st.sampled_from(["GRD", "SLC", "OCN", "RAW"]),
    resolution=st.sampled_from("FHM_"),
    level=st.integers(0, 2),
    product_class=st.sampled_from("SANC"),
    polarisation=st.sampled_from(sorted(POLARISATIONS)),
    start=seconds,
    stop=seconds,
    absolute_orbit=st.integers(1, 999_999),
    datatake=st.integers(0, 0xFFFFFF),
    unique_id=st.integers(0, 0xFFFF).map("{:04X}".format),
    kind=st.sampled_from(["SAFE", "COG", "AWS"]),
)


@settings(deadline=None)
@given(names)
def test_round_trip(name: ProductName) -> None:
    assert ProductName.parse(str(name), "AWS" if name.kind == "AWS" else None) == name
    assert ProductName.parse(name.id, name.kind) == name
    assert ProductName.parse(f"{name.id}.zip", name.kind) == name


@settings(deadline=None)
@given(names)
def test_what_is_processed_follows_from_the_name(name: ProductName) -> None:
    """Every standard GRD of IW, EW and StripMap, in any resolution and polarisation, and nothing else."""
    sound = (name.product_type, name.level, name.product_class) == ("GRD", 1, "S")
    sound &= name.mode in {"IW", "EW", "S1", "S2", "S3", "S4", "S5", "S6"} and name.resolution in "FHM"
    if sound:
        check_supported(name)
        return
    with pytest.raises(SceneUnsupported) as caught:
        check_supported(name)
    said = str(caught.value)
    assert said.startswith(f"{name}: got {name.mode} ") and ", expected a GRD of level 1" in said


def test_every_kind_that_is_processed_round_trips() -> None:
    found = set()
    for mode in ("IW", "EW", "S1", "S2", "S3", "S4", "S5", "S6"):
        for resolution in "FHM":
            for code, polarisations in POLARISATIONS.items():
                name = ProductName.parse(PALAU.replace("IW_GRDH_1SDV", f"{mode}_GRD{resolution}_1S{code}"))
                check_supported(name)
                assert (name.mode, name.resolution, name.polarisations) == (mode, resolution, polarisations)
                assert name.stripmap == (mode[0] == "S") and ProductName.parse(str(name)) == name
                cross = [p[0] != p[1] for p in name.polarisations]
                assert cross == sorted(cross)  # co-polarised first
                found.add(str(name))
    assert len(found) == 8 * 3 * 8


def test_parts_of_a_name() -> None:
    name = ProductName.parse(PALAU)
    assert (name.platform, name.mode, name.product_type, name.resolution) == ("S1A", "IW", "GRD", "H")
    assert (name.level, name.product_class, name.polarisations) == (1, "S", ("VV", "VH"))
    assert name.start == datetime(2022, 10, 2, 20, 51, 26, tzinfo=timezone.utc)
    assert name.stop - name.start == timedelta(seconds=30)
    assert (name.absolute_orbit, name.datatake, name.unique_id) == (45268, 354640, "0664")
    assert (name.relative_orbit, name.kind, str(name)) == (46, "SAFE", PALAU)


@pytest.mark.parametrize(
    ("text", "kind", "resolution"),
    [
        ("S1A_S3_GRDH_1SSH_20241130T000114_20241130T000133_056776_06F823_98F0_COG", "COG", "H"),
        ("S1A_S3_GRDH_1SSH_20241130T000114_20241130T000133_056776_06F823_98F0_COG.SAFE.zip", "COG", "H"),
        ("S1B_IW_SLC__1SDV_20210810T044826_20210810T044859_028179_035C9B_6C5A.SAFE", "SAFE", "_"),
        ("S1A_WV_OCN__2SSV_20210810T044826_20210810T044859_028179_035C9B_6C5A.SAFE", "SAFE", "_"),
    ],
)
def test_forms_of_names(text: str, kind: str, resolution: str) -> None:
    name = ProductName.parse(text)
    assert (name.kind, name.resolution) == (kind, resolution)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scene",
        "S2A_MSIL1C_20220102T030405_N0301_R001_T32TQM_20220102T040506.SAFE",
        PALAU.replace("S1A", "S1E"),
        PALAU.replace("20221002T205126", "20221302T205126"),  # no such month
        PALAU + "/../x",
        PALAU.lower(),
        PALAU.replace("DV", "SD"),
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(SceneUnsupported, match="expected one such as"):
        ProductName.parse(text)


@pytest.mark.parametrize(
    ("platform", "absolute", "relative"),
    [
        ("S1A", 4454, 7),
        ("S1A", 36201, 79),
        ("S1A", 45618, 46),
        ("S1B", 10788, 87),  # from public manifests
        ("S1C", 1628, 57),
        ("S1C", 8018, 147),
        ("S1C", 8019, 46),  # after the change of orbit
        ("S1D", 2389, 73),
    ],
)
def test_relative_orbit(platform: str, absolute: int, relative: int) -> None:
    name = dataclasses.replace(ProductName.parse(PALAU), platform=platform, absolute_orbit=absolute)
    assert name.relative_orbit == relative


def test_one_acquisition() -> None:
    """The reprocessed product starts and stops a second off; the next slice and the next pass are others."""
    early = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_FEC3.SAFE"
    again = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_6D00.SAFE"
    a, b = ProductName.parse(early), ProductName.parse(again)
    assert same_acquisition(a, b) and same_acquisition(
        a, ProductName.parse(again.replace(".SAFE", "_COG.SAFE"))
    )
    following = dataclasses.replace(a, start=a.stop, stop=a.stop + timedelta(seconds=25))
    assert not same_acquisition(a, following)
    palau = [
        ProductName.parse(name)
        for name in (PALAU, "S1A_IW_GRDH_1SDV_20221014T205126_20221014T205155_045443_056F2D_861B.SAFE")
    ]
    assert not same_acquisition(*palau)


@settings(deadline=None)
@given(names, st.integers(-40, 40), st.integers(2, 40), st.integers(2, 40))
def test_same_acquisition_is_symmetric_and_needs_half_of_the_shorter(name, shift, one, other) -> None:
    a = dataclasses.replace(name, stop=name.start + timedelta(seconds=one))
    start = name.start + timedelta(seconds=shift)
    b = dataclasses.replace(name, start=start, stop=start + timedelta(seconds=other), unique_id="0000")
    common = len(set(range(one)) & set(range(shift, shift + other)))
    assert same_acquisition(a, b) == same_acquisition(b, a) == (2 * common >= min(one, other))
    assert not same_acquisition(a, dataclasses.replace(b, datatake=name.datatake ^ 1))
