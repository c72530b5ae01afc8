"""A convolution as one HTML page on which the window moves step by step."""

from __future__ import annotations

from typing import Any

from cnnlab.render.pages import page_templates
from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Number
from cnnlab.theory.convolution_by_hand.view import OPERATIONS, step_name, title


def render_page(result: Convolution) -> str:
    """The page as HTML, which loads nothing from elsewhere; `#step=7` in its address opens the 7th step."""
    templates = page_templates("cnnlab.theory.convolution_by_hand")
    sentence, formula = OPERATIONS[result.flip]
    return templates.get_template("convolution.html.jinja").render(
        result=result,
        title=title(result),
        sentence=sentence,
        formula=formula.text,
        short=_short,
        steps=[_step_data(result, step) for step in result.steps],
    )


def step_number(result: Convolution, step: ConvolutionStep) -> int:
    """A step's number on the page, from 1: kernel by kernel, row by row."""
    high, wide = result.output_size
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
