"""Colours that everybody tells apart, and that are always the same."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from optbench.axes import OPTIMIZERS
from optbench.charts.palette import PRESETS, color_of, fills_of, marker_of

# Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), table 1, severity 1.0; for linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
SEVEN = list(PRESETS)[:7]


def linear(color: str) -> np.ndarray:
    srgb = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear sRGB under D65."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def least_distance(names, matrix) -> float:
    seen = [lab(np.asarray(matrix) @ linear(color_of(name))) for name in names]
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2))


def test_the_measure_is_right():
    assert lab(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    # Red and green of the same lightness are what a deuteranope mixes up; blue and yellow are not.
    red, green = (np.asarray(DEFICIENCIES["deuteranopia"]) @ linear(color) for color in ("#D04040", "#7F7F20"))
    assert np.linalg.norm(lab(red) - lab(green)) < 20 < np.linalg.norm(lab(linear("#D04040")) - lab(linear("#7F7F20")))


@pytest.mark.parametrize("vision", DEFICIENCIES)
def test_optimizers_are_told_apart(vision):
    assert least_distance(SEVEN, DEFICIENCIES[vision]) >= 35
    assert least_distance(PRESETS, DEFICIENCIES[vision]) >= 21


def test_every_preset_has_a_colour_and_a_marker_of_its_own():
    assert set(OPTIMIZERS) <= set(PRESETS)
    assert (
        len({color for color, _ in PRESETS.values()}) == len({marker for _, marker in PRESETS.values()}) == len(PRESETS)
    )


def test_all_are_seen_on_white():
    for name in PRESETS:
        luminance = float(np.array([0.2126729, 0.7151522, 0.0721750]) @ linear(color_of(name)))
        assert 1.05 / (luminance + 0.05) >= 2.3, name


def test_a_name_decides_alone():
    assert color_of("Functional-SAM") == color_of("functional_sam") != color_of("muon-fsam")
    assert marker_of(" AdamW ") == marker_of("adamw")
    names = [f"adamw[rule.lr={rate}]" for rate in range(40)]
    assert len({(color_of(name), marker_of(name)) for name in names}) > 30
    assert not {color_of(name) for name in names} & {color for color, _ in PRESETS.values()}
    code = "from optbench.charts.palette import *; print(color_of('muon-fsam'), marker_of('muon-fsam'))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{color_of('muon-fsam')} {marker_of('muon-fsam')}\n"}
    assert color_of("\ud800").startswith("#")


def test_strategies_differ_by_filling():
    assert fills_of(["mine", "uniform", "augment", "other"]) == {
        "uniform": "full",
        "augment": "left",
        "mine": "none",
        "other": "top",
    }
    assert fills_of(["augment", "uniform"])["augment"] == "left"
    assert len(set(fills_of([str(n) for n in range(6)]).values())) == 6
    assert len(fills_of([str(n) for n in range(9)])) == 9
