"""The value of a run as a picture: a matrix of counts, such as the Mandelbrot set."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from compute.report import canvas
from compute.scaling import files

COLOURS = "twilight_shifted"  # dark far from the set, light where counts rise, dark again along its edge


def render(value: Any) -> bytes:
    """A PNG of a matrix of counts, a pixel each: colours by the logarithm of the count, the largest count black.

    For the Mandelbrot set: its points never escape, so theirs is the largest count. ValueError for what is no matrix of
    real numbers.
    """
    with canvas.without_advice():
        import matplotlib
        from matplotlib.image import imsave

    counts = np.asarray(value)
    if counts.ndim != 2 or not counts.size or counts.dtype.kind not in "iuf":
        raise ValueError(f"a picture needs a matrix of numbers, not {counts.dtype}{list(counts.shape)}")
    shades = np.log1p(np.maximum(counts.astype(np.float64), 0.0))
    outside = counts < counts.max()
    seen = shades[outside]
    # The least count that occurs has the darkest shade. Otherwise a deep zoom would have one colour.
    low, high = (float(seen.min()), float(np.quantile(seen, 0.999))) if seen.size else (0.0, 1.0)
    colours = matplotlib.colormaps[COLOURS](np.clip((shades - low) / ((high - low) or 1.0), 0, 1) * 0.96)
    if seen.size:
        colours[~outside] = 0, 0, 0, 1
    data = io.BytesIO()
    imsave(data, colours, format="png")
    return data.getvalue()


def write(path: files.StrPath, value: Any) -> None:
    """Write the picture; the file is whole or it is not there."""
    files.write(path, render(value))
