from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnlab.data.decoding import images
from cnnlab.data.decoding.images import ImageFault, ImageHeader, try_decode, try_header, try_inspect
from cnnlab.data.sources.base import ImageSpec

GREY = ImageSpec(1, 6, 8)
COLOUR = ImageSpec(3, 6, 8)


def decode(file: images.ImageFile, form: ImageSpec) -> np.ndarray:
    found = try_decode(file, form)
    assert not isinstance(found, ImageFault), found
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
    assert try_header(content) == ImageHeader(8, 6, 1, format)


@pytest.mark.parametrize("values", [np.full((6, 8), 70000, np.int32), np.full((6, 8), 0.5, np.float32)])
def test_values_of_unknown_range_are_a_fault(values):
    fault = try_decode(saved(Image.fromarray(values), "TIFF"), GREY)
    assert isinstance(fault, ImageFault)
    assert (fault.kind, "values" in fault.message) == ("unreadable", True)


@pytest.mark.parametrize(
    ("mode", "colour", "format", "seen"),
    [
        ("RGBA", (200, 0, 0, 0), "PNG", (255, 255, 255)),  # what is transparent is laid over white
        ("RGBA", (200, 10, 0, 255), "PNG", (200, 10, 0)),
        ("RGBA", (255, 0, 0, 128), "PNG", (255, 127, 127)),
        ("LA", (9, 0), "PNG", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("1", 0, "PNG", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_red_green_and_blue(mode, colour, format, seen):
    pixels = decode(saved(Image.new(mode, (8, 6), colour), format), COLOUR)
    assert pixels[:, 0, 0].tolist() == list(seen)


def test_palette_with_transparency():
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 10, 200, 30] + [0] * 762)
    image.putpixel((0, 0), 2)
    pixels = decode(saved(image, "PNG", transparency=2), COLOUR)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 5, 7].tolist() == [10, 200, 30]


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
    assert try_header(content) == ImageHeader(width, height, 3, format)
    np.testing.assert_array_equal(decode(content, ImageSpec(3, height, width)), turned.transpose(2, 0, 1))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resized_as_pillow_does(interpolation, encode, draw):
    array = draw(5, height=20, width=14)
    want = Image.fromarray(array).resize((8, 6), Image.Resampling[interpolation.upper()])
    found = decode(encode(array), ImageSpec(3, 6, 8, interpolation))
    np.testing.assert_array_equal(found, np.asarray(want).transpose(2, 0, 1))


def test_cropped_to_the_middle_after_resizing_the_shorter_side(draw):
    array = draw(5, height=30, width=40)
    found = decode(saved(Image.fromarray(array), "PNG"), ImageSpec(3, 15, 15, "nearest", "crop"))
    want = np.asarray(Image.fromarray(array).crop((5, 0, 35, 30)).resize((15, 15), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(found, want.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_odd_sizes_are_read(size):
    assert decode(saved(Image.new("RGB", size, "green"), "PNG"), COLOUR).shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("mode", "channels", "format"),
    [("L", 1, "PNG"), ("LA", 1, "PNG"), ("1", 1, "PNG"), ("RGB", 3, "PNG"), ("RGBA", 3, "PNG"), ("P", 3, "PNG"),
     ("L", 1, "GIF")],
)  # fmt: skip
def test_header_tells_grey_from_colour(mode, channels, format):
    """A GIF has a palette always, also one of greys."""
    image = Image.new(mode, (8, 6))
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 200, 30])
    assert try_header(saved(image, format)) == ImageHeader(8, 6, channels, format)


def test_from_a_path_as_from_bytes(encode, draw, tmp_path):
    content = encode(draw(6))
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", COLOUR), decode(content, COLOUR))


def test_inspect_gives_the_same_pixels_for_the_same_picture_in_other_formats(draw):
    array = draw(7)
    found = [try_inspect(saved(Image.fromarray(array), format)) for format in ("PNG", "BMP")]
    assert [header.format for header, _ in found] == ["PNG", "BMP"]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def png_with_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its content has not."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + length + header + check + struct.pack(">I", 99) + b"IDAT"


@pytest.mark.parametrize("side", [8001, 10_000, 50_000])
def test_a_header_of_too_many_pixels_is_refused_before_decoding(side):
    fault = try_header(png_with_size(side, side))
    assert isinstance(fault, ImageFault)
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
        *((format, "truncated", "") for format in ("PNG", "JPEG", "BMP", "PPM")),
    ],
)
def test_what_is_no_whole_image_is_named(content, kind, words, draw):
    if kind == "truncated":
        content = saved(Image.fromarray(draw(9, height=40, width=40)), content)
        content = content[: len(content) // 2]
    fault = try_decode(content, COLOUR)
    assert (fault.kind, words in fault.message) == (kind, True)


def test_a_file_that_is_not_there_or_a_folder_is_a_fault(tmp_path):
    assert try_decode(tmp_path / "none.png", COLOUR).kind == "unreadable"
    assert try_decode(tmp_path, COLOUR).kind == "unreadable"


@given(data=st.data(), format=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]))
def test_damaged_bytes_give_pixels_or_a_fault_never_another_exception(data, format):
    content = bytearray(saved(Image.linear_gradient("L").resize((16, 12)).convert("RGB"), format))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = try_decode(bytes(content[: data.draw(st.integers(0, len(content)))]), COLOUR)
    assert isinstance(found, ImageFault) or (found.shape == (3, 6, 8) and found.dtype == np.uint8)


def test_every_ending_belongs_to_one_format():
    assert len(set(images.EXTENSIONS)) == len(images.EXTENSIONS)
    assert {Image.registered_extensions()[ending] for ending in images.EXTENSIONS} == set(images.FORMATS)
    assert Path("x.JPG").suffix.lower() in images.EXTENSIONS
