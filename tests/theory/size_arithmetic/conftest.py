"""Windows of every kind, and what torch makes of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.window import Window


@st.composite
def _windows(draw: st.DrawFn) -> Window:
    """Windows of every kind, those that torch refuses among them."""
    kind = draw(st.sampled_from(["convolution", "pool", "ceil", "transposed"]))
    kernel, dilation, padding = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(0, 3))
    # Most windows are to fit on their image.
    smallest = max(dilation * (kernel - 1) - 2 * padding - 2, 1) if kind != "transposed" else 1
    return Window(
        size=draw(st.integers(smallest, smallest + 23)),
        kernel=kernel,
        stride=draw(st.integers(1, 7)),
        padding=padding,
        dilation=dilation,
        pool=kind in ("pool", "ceil"),
        ceil=kind == "ceil",
        transposed=kind == "transposed",
        output_padding=draw(st.integers(0, 3)) if kind == "transposed" else 0,
    )


# Tests draw them with st.from_type(Window).
st.register_type_strategy(Window, _windows())


@pytest.fixture(scope="session")
def torch_size() -> Callable[[Window], int | None]:
    """What torch makes of a window; None where it refuses or makes an empty image."""

    def size(window: Window) -> int | None:
        made = _torch_output(window)
        return None if made is None else made.shape[2] or None

    return size


def _torch_output(window: Window) -> torch.Tensor | None:
    """What torch makes of a column of ones; None where it refuses."""
    image = torch.ones(1, 1, window.size, 1, device="meta")
    kernel = torch.ones(1, 1, window.kernel, 1, device="meta")
    stride, padding, dilation = (window.stride, 1), (window.padding, 0), (window.dilation, 1)
    try:
        if window.pool:
            shape = (window.kernel, 1)
            return functional.max_pool2d(image, shape, stride, padding, dilation, ceil_mode=window.ceil)
        if window.transposed:
            more = (window.output_padding, 0)
            return functional.conv_transpose2d(image, kernel, None, stride, padding, more, 1, dilation)
        return functional.conv2d(image, kernel, None, stride, padding, dilation)
    except RuntimeError:
        return None
