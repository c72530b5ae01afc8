"""A convolution as one HTML page, on which the window moves step by step."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cnnlab.errors import UsageError
from cnnlab.render.palette import style_sheet
from cnnlab.theory.convolution_by_hand import view
from cnnlab.theory.convolution_by_hand.inputs import ConvolutionSetup, Map, to_python_number
from cnnlab.theory.convolution_by_hand.view import format_short

if TYPE_CHECKING:
    from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep

# More than a person steps through, and than a browser shows without delay.
MAX_PRODUCTS = 50_000
MAX_CELLS = 20_000
# Without a script, and for searching: all sums in one list, where they are few.
MAX_LISTED = 400
Texts = list[list[str]]


def render_page(result: Convolution) -> str:
    """The page as HTML: nothing loaded from elsewhere, light and dark; `#step=7` in its address opens the 7th step.

    Raises:
        UsageError: more than a page can hold.
    """
    setup = result.setup
    _check_size(setup)
    script, data = _script(), _data(result)
    outputs = [[[format_short(value) for value in row] for row in result.map(k)] for k in range(len(setup.kernels))]
    first = result.step_at(0, 0)
    images = [_image(setup, channel, first) for channel in range(setup.channels)]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    return (
        _templates()
        .get_template("convolution.html.jinja")
        .render(
            colours=Markup(style_sheet()),
            script=Markup(script),
            script_hash=digest,
            title=view.title(setup),
            operation=view.operation(setup),
            reason=view.reason(setup),
            formulas=[view.definition(setup).text, view.indices(setup).text],
            setup=setup,
            padded=setup.padded_size != setup.image_size,
            images=images,
            written=[[_texts(channel) for channel in kernel] for kernel in setup.kernels],
            used=[_texts(setup.oriented_kernel(0, channel)) for channel in range(setup.channels)],
            biases=[format_short(to_python_number(value)) for value in setup.bias or []],
            first=first,
            outputs=outputs,
            letters=_letters(images, data, outputs),
            listed=[_step_entry(setup, step) for step in result.steps[:MAX_LISTED]],
            steps=len(result.steps),
            data=data,
            short=format_short,
        )
    )


def step_number(result: Convolution, step: ConvolutionStep) -> int:
    """A step's number on the page, from 1: kernel by kernel, row by row."""
    high, wide = result.setup.output_size
    return (step.kernel * high + step.row) * wide + step.column + 1


def _data(result: Convolution) -> dict[str, Any]:
    """What the script shows, as texts: its own numbers would round what is exact here."""
    setup = result.setup
    return {
        "channels": setup.channels,
        "kernel": setup.kernel_size,
        "output": setup.output_size,
        "stride": setup.stride,
        "dilation": setup.dilation,
        "several": setup.several,
        "used": [
            [_texts(setup.oriented_kernel(kernel, channel)) for channel in range(setup.channels)]
            for kernel in range(len(setup.kernels))
        ],
        "steps": [
            {
                "kernel": step.kernel,
                "row": step.row,
                "column": step.column,
                "products": [format_short(product.product) for product in step.products],
                "sum": format_short(step.sum),
                "text": step.text,
            }
            for step in result.steps
        ],
    }


def _image(setup: ConvolutionSetup, channel: int, first: ConvolutionStep) -> list[list[tuple[str, str]]]:
    """A channel with its padding: each pixel as text, and its classes: padding, and under the first step's window."""
    (top, bottom), (left, right) = setup.margins
    high, wide = setup.image_size
    seen = {(product.row, product.column) for product in first.products}

    def classes(row: int, column: int) -> str:
        padding = "" if 0 <= row < high and 0 <= column < wide else "padding"
        return f"{padding} {'seen' if (row, column) in seen else ''}".strip()

    return [
        [
            (format_short(to_python_number(setup.pixel(channel, row, column))), classes(row, column))
            for column in range(-left, wide + right)
        ]
        for row in range(-top, high + bottom)
    ]


def _texts(values: Map) -> Texts:
    return [[format_short(to_python_number(value)) for value in row] for row in values]


def _letters(images: Any, data: dict[str, Any], outputs: Any) -> dict[str, int]:
    """The longest number of each kind of map, so that no map changes its size from step to step."""
    weights = max(map(len, _flat(data["used"])))
    return {
        "image": max(len(text) for image in images for row in image for text, _ in row),
        "used": weights,
        "written": weights,
        "products": max(len(text) for step in data["steps"] for text in step["products"]),
        "output": max(map(len, _flat(outputs))),
    }


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _step_entry(setup: ConvolutionSetup, step: ConvolutionStep) -> tuple[str, str]:
    place = f"{step.kernel}, {step.row}, {step.column}" if setup.several else f"{step.row}, {step.column}"
    return f"y[{place}]", step.text


def _check_size(setup: ConvolutionSetup) -> None:
    high, wide = setup.output_size
    elements = len(setup.kernels) * high * wide
    cells = setup.channels * setup.padded_size[0] * setup.padded_size[1] + elements
    for number, most, what in (
        (setup.num_products, MAX_PRODUCTS, "products"),
        (cells, MAX_CELLS, "pixels and output elements"),
    ):
        if number > most:
            raise UsageError(
                "this is too large for a page that is stepped through",
                where="page",
                received=f"{number:,} {what}",
                allowed=f"up to {most:,}",
                next_step="cut out a part of the image, or ask for one element (--at ROW,COLUMN)",
            )


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("cnnlab.theory.convolution_by_hand"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _script() -> str:
    environment = _templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, "convolution.js")[0]
