from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnlab.data import images
from cnnlab.data.images import Fault, Header, try_decode, try_header, try_inspect
from cnnlab.data.source import ImageForm

GREY = ImageForm(1, 6, 8)
COLOUR = ImageForm(3, 6, 8)


def decode(file: images.ImageFile, form: ImageForm) -> np.ndarray:
    found = try_decode(file, form)
    assert not isinstance(found, Fault), found
    return found


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels_that_were_saved(format, draw):
    array = draw(1)
    content = saved(Image.fromarray(array), format, **({"lossless": True} if format == "WEBP" else {}))
    np.testing.assert_array_equal(decode(content, COLOUR), array.transpose(2, 0, 1))


def test_grey_is_itu_r_601_luma(draw):
    array = draw(2).astype(np.int64)
    luma = (array @ [19595, 38470, 7471] + 0x8000) >> 16
    content = saved(Image.fromarray(array.astype(np.uint8)), "PNG")
    np.testing.assert_array_equal(decode(content, GREY)[0], luma)


def test_grey_to_three_channels_repeats_it(encode, draw):
    array = draw(3, channels=1)
    np.testing.assert_array_equal(decode(encode(array), COLOUR), np.stack([array] * 3))


@pytest.mark.parametrize(("format", "order"), [("PNG", None), ("TIFF", None), ("PPM", ">u2")])
def test_sixteen_bits_are_scaled_not_clipped(format, order):
    values = (np.arange(48, dtype=np.uint16) * 1394).reshape(6, 8)
    content = b"P5 8 6 65535\n" + values.astype(order).tobytes() if order else saved(Image.fromarray(values), format)
    np.testing.assert_array_equal(decode(content, GREY)[0], np.round(values / 257).astype(np.uint8))
    assert try_header(content) == Header(8, 6, 1, format)


@pytest.mark.parametrize("values", [np.full((6, 8), 70000, np.int32), np.full((6, 8), 0.5, np.float32)])
def test_values_of_unknown_range_are_a_fault(values):
    fault = try_decode(saved(Image.fromarray(values), "TIFF"), GREY)
    assert isinstance(fault, Fault)
    assert fault.kind == "unreadable"
    assert "values" in fault.message


def test_one_bit_is_black_and_white():
    image = Image.new("1", (8, 6), 1)
    image.putpixel((2, 3), 0)
    pixels = decode(saved(image, "PNG"), GREY)[0]
    assert pixels[3, 2] == 0
    assert np.delete(pixels.ravel(), 3 * 8 + 2).tolist() == [255] * 47


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 10, 0, 255), (200, 10, 0)),
        ("LA", (9, 0), (255, 255, 255)),
    ],
)
def test_transparency_is_laid_over_white(mode, colour, seen):
    pixels = decode(saved(Image.new(mode, (8, 6), colour), "PNG"), COLOUR)
    assert pixels[:, 0, 0].tolist() == list(seen)


def test_half_transparent_red_over_white():
    pixels = decode(saved(Image.new("RGBA", (8, 6), (255, 0, 0, 128)), "PNG"), COLOUR)
    assert pixels[:, 0, 0].tolist() == [255, 127, 127]


def test_palette_with_transparency():
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 10, 200, 30] + [0] * 762)
    image.putpixel((0, 0), 2)
    pixels = decode(saved(image, "PNG", transparency=2), COLOUR)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 5, 7].tolist() == [10, 200, 30]


def test_cmyk():
    content = saved(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "TIFF")
    assert decode(content, COLOUR)[:, 0, 0].tolist() == [255, 0, 0]


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, COLOUR)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(format, orientation, draw):
    array = draw(4, height=5, width=9)
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, -1),
        7: array[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(array),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(array), format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    height, width = turned.shape[:2]
    assert try_header(content) == Header(width, height, 3, format)
    np.testing.assert_array_equal(decode(content, ImageForm(3, height, width)), turned.transpose(2, 0, 1))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resized_as_pillow_does(interpolation, encode, draw):
    array = draw(5, height=20, width=14)
    want = Image.fromarray(array).resize((8, 6), Image.Resampling[interpolation.upper()])
    found = decode(encode(array), ImageForm(3, 6, 8, interpolation))
    np.testing.assert_array_equal(found, np.asarray(want).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_odd_sizes_are_read(size):
    assert decode(saved(Image.new("RGB", size, "green"), "PNG"), COLOUR).shape == (3, 6, 8)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 1), ("1", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)])
def test_header_tells_grey_from_colour(mode, channels):
    image = Image.new(mode, (8, 6))
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 200, 30])
    assert try_header(saved(image, "PNG")) == Header(8, 6, channels, "PNG")


def test_a_grey_palette_is_grey():
    assert try_header(saved(Image.new("L", (8, 6), 9), "GIF")) == Header(8, 6, 1, "GIF")


def test_from_a_path_and_an_open_file_as_from_bytes(encode, draw, tmp_path):
    content = encode(draw(6))
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", COLOUR), decode(content, COLOUR))
    np.testing.assert_array_equal(decode(io.BytesIO(content), COLOUR), decode(content, COLOUR))


def test_inspect_gives_the_same_pixels_for_the_same_picture_in_other_formats(draw):
    array = draw(7)
    found = [try_inspect(saved(Image.fromarray(array), format)) for format in ("PNG", "BMP")]
    assert [header.format for header, _ in found] == ["PNG", "BMP"]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def png_with_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its content has not."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", 99)
        + b"IDAT"
    )


@pytest.mark.parametrize("side", [8001, 10_000, 50_000])
def test_a_header_of_too_many_pixels_is_refused_before_decoding(side):
    fault = try_header(png_with_size(side, side))
    assert isinstance(fault, Fault)
    assert fault.kind == "too large"
    assert "64,000,000" in fault.message


def test_too_many_bytes_are_refused(monkeypatch, encode, draw, tmp_path):
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "a.png").write_bytes(encode(draw(8)))
    for file in (encode(draw(8)), tmp_path / "a.png"):
        assert try_decode(file, COLOUR).kind == "too large"


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", "empty", "0 bytes"),
        (b"<!DOCTYPE html><html></html>", "not an image", "<!DOCTYPE html>"),
        (b"%PDF-1.4\n%", "not an image", "%PDF"),
    ],
)
def test_what_is_no_image_is_named(content, kind, words):
    fault = try_decode(content, COLOUR)
    assert (fault.kind, words in fault.message) == (kind, True)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "PPM"])
def test_a_truncated_image_is_a_fault(format, draw):
    content = saved(Image.fromarray(draw(9, height=40, width=40)), format)
    assert try_decode(content[: len(content) // 2], COLOUR).kind == "truncated"


def test_a_file_that_is_not_there_or_a_folder_is_a_fault(tmp_path):
    assert try_decode(tmp_path / "none.png", COLOUR).kind == "unreadable"
    assert try_decode(tmp_path, COLOUR).kind == "unreadable"


@settings(max_examples=150, deadline=None)
@given(data=st.data(), format=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]))
def test_damaged_bytes_give_pixels_or_a_fault_never_another_exception(data, format):
    content = bytearray(saved(Image.linear_gradient("L").resize((16, 12)).convert("RGB"), format))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = try_decode(bytes(content[: data.draw(st.integers(0, len(content)))]), COLOUR)
    assert isinstance(found, Fault) or (found.shape == (3, 6, 8) and found.dtype == np.uint8)


def test_every_ending_belongs_to_one_format():
    assert len(set(images.ENDINGS)) == len(images.ENDINGS)
    assert {Image.registered_extensions()[ending] for ending in images.ENDINGS} == set(images.FORMATS)
    assert Path("x.JPG").suffix.lower() in images.ENDINGS
