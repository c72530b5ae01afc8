"""A convolution as one HTML page on which the window moves step by step."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from cnnlab.errors import UsageError
from cnnlab.render.palette import style_sheet
from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Number
from cnnlab.theory.convolution_by_hand.view import definition, step_name, title

# More than a person steps through, and than a browser shows without delay.
MAX_PRODUCTS = 50_000
MAX_PIXELS = 20_000


def render_page(result: Convolution) -> str:
    """The page as HTML, which loads nothing from elsewhere; `#step=7` in its address opens the 7th step.

    Raises:
        UsageError: more than a page can hold.
    """
    products = len(result.steps) * len(result.steps[0].products)
    pixels = len(result.padded) * len(result.padded[0]) * len(result.padded[0][0])
    for number, most, name in ((products, MAX_PRODUCTS, "products"), (pixels, MAX_PIXELS, "pixels")):
        if number > most:
            raise UsageError(
                "this is too large for a page",
                where="page",
                received=f"{number:,} {name}",
                allowed=f"up to {most:,}",
                next_step="cut out a piece of the image, or ask for one element (--at ROW,COLUMN)",
            )
    sentence, formula = definition(result)
    return _template().render(
        result=result,
        title=title(result),
        sentence=sentence,
        formula=formula,
        colours=Markup(style_sheet()),
        short=_short,
        steps=[_step_data(result, step) for step in result.steps],
    )


def step_number(result: Convolution, step: ConvolutionStep) -> int:
    """A step's number on the page, from 1: kernel by kernel, row by row."""
    high, wide = len(result.outputs[0]), len(result.outputs[0][0])
    return (step.kernel * high + step.row) * wide + step.column + 1


def _step_data(result: Convolution, step: ConvolutionStep) -> dict[str, Any]:
    """What the script shows of a step; `pixels` are places in the image's cells, channel by channel."""
    (top, _), (left, _) = result.margins
    high, wide = len(result.padded[0]), len(result.padded[0][0])
    return {
        "pixels": [
            (product.channel * high + product.row + top) * wide + product.column + left for product in step.products
        ],
        "weights": [_short(product.weight) for product in step.products],
        "products": [_short(product.product) for product in step.products],
        "text": f"{step_name(result, step)} = {step.text}",
    }


def _short(value: Number) -> str:
    """Format a number with at most 7 characters or 5 digits."""
    text = str(value)
    return text if len(text) <= 7 else f"{value:.5g}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("cnnlab.theory.convolution_by_hand"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("convolution.html.jinja")
