"""A matrix as a picture: a pixel a number."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from compute.report import picture


def image(data):
    return imread(io.BytesIO(data))


def test_a_picture_has_a_pixel_a_number_and_the_largest_is_black():
    counts = np.array([[1, 2, 3], [50, 1000, 1000]], np.int32)
    pixels = image(picture.render(counts))
    assert pixels.shape == (2, 3, 4)
    black = (pixels[..., :3] == 0).all(axis=-1)
    assert (black == (counts == 1000)).all()
    assert len({tuple(pixel) for pixel in pixels[0]}) == 3
    assert (pixels[..., 3] == 1).all()


@pytest.mark.parametrize("value", [np.full((3, 4), 7), np.zeros((1, 1), int), np.arange(12.0).reshape(3, 4) - 6])
def test_any_matrix_has_a_picture(value):
    assert image(picture.render(value)).shape == (*value.shape, 4)


@pytest.mark.parametrize("value", [3, np.zeros(5), np.zeros((0, 3)), np.zeros((2, 2, 2)), np.array([["a"]])])
def test_what_is_no_matrix_of_numbers_is_told(value):
    with pytest.raises(ValueError, match="a picture needs a matrix of numbers, not"):
        picture.render(value)


def test_written_whole(tmp_path):
    picture.write(tmp_path / "a.png", np.eye(3))
    assert (tmp_path / "a.png").read_bytes() == picture.render(np.eye(3))
