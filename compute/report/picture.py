"""A matrix as a picture, a pixel an element: what `nfold run mandelbrot 800 --png` draws."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from compute.scaling import files


def render(matrix: np.ndarray[Any, Any]) -> bytes:
    """The PNG of a matrix of real numbers, dark to bright; the largest value of an integer matrix is black.

    Integers are counts (escape times) and spread over many powers of ten: they are coloured by rank, so that every
    part of the picture has its share of the colours.
    """
    from matplotlib import colormaps
    from matplotlib.image import imsave

    values, places = np.unique(matrix, return_inverse=True)
    places = places.reshape(matrix.shape)
    if matrix.dtype.kind in "iu":
        shares = np.cumsum(np.bincount(places.ravel()))
        pixels = colormaps["inferno"]((shares / max(shares[-1], 1))[places], bytes=True)
        if len(values) > 1:
            pixels[places == len(values) - 1] = (0, 0, 0, 255)
    else:
        low, high = float(values[0]), float(values[-1])
        pixels = colormaps["viridis"]((matrix - low) / ((high - low) or 1.0), bytes=True)
    picture = io.BytesIO()
    imsave(picture, pixels, format="png")
    return picture.getvalue()


def write(path: files.StrPath, matrix: np.ndarray[Any, Any]) -> None:
    """Write the picture, whole or not at all."""
    files.write(path, render(matrix))
