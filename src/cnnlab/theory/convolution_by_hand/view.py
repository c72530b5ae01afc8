"""View of a convolution by hand: formulas, tables, and a drawing of one step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.formatting import format_shape, wrap
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Number, NumberGrid, Pair

# What fits into a terminal and on a page: sums, rows and columns of a table, and tables; the JSON has everything.
_MAX_SUMS, _MAX_SIDE, _MAX_TABLES = 60, 24, 16

_OPERATIONS = {
    True: (
        "The kernel is flipped, top to bottom and left to right, before it slides over the image. torch's conv2d does "
        "not flip it (cross-correlation): flip the kernel first, and conv2d gives this output.",
        Formula(
            "(w ∗ x)(i, j) = Σm Σn w(m, n)·x(i − m, j − n)",
            r"(w * x)(i, j) = \sum_m \sum_n w(m, n)\, x(i - m, j - n)",
        ),
    ),
    False: (
        "The kernel slides over the image as it is written, as in torch's conv2d. A true convolution flips it first.",
        Formula(
            "(w ⋆ x)(i, j) = Σm Σn w(m, n)·x(i + m, j + n)",
            r"(w \star x)(i, j) = \sum_m \sum_n w(m, n)\, x(i + m, j + n)",
        ),
    ),
}


@document.register
def _(result: Convolution) -> Document:
    lines = (*_OPERATIONS[result.flip], _size_formula(result, 0), _size_formula(result, 1))
    if len(result.steps) == 1:
        (step,) = result.steps
        padding = sum(product.padding for product in step.products)
        terms = [_terms_table(result, step)] if len(step.products) <= _MAX_SUMS else []
        note = f"{len(step.products)} products, {padding} of them with padding."
        return Document(title(result), (*lines, _step_formula(result, step)), tuple(terms), (note,))
    grids = [*_image_grids(result), *_kernel_grids(result), *_output_grids(result)]
    tables = [
        (grid.title, grid.table())
        for grid in grids[:_MAX_TABLES]
        if max(len(grid.rows), len(grid.columns)) <= _MAX_SIDE
    ]
    if len(result.steps) > _MAX_SUMS:
        note = f"{len(result.steps):,} output elements: --at ROW,COLUMN shows one, --json all."
        return Document(title(result), lines, tuple(tables), (note,))
    rows = [(step_name(result, step), step.text) for step in result.steps]
    tables.append(("every output element: weight·pixel, row by row", TextTable.from_rows(["element", "sum"], rows)))
    return Document(title(result), lines, tuple(tables))


def title(result: Convolution) -> str:
    """The operation, the sizes, and the options that are not the defaults."""
    channels = (len(result.image),) if len(result.image) > 1 else ()
    image = format_shape((*channels, *_grid_size(result.image[0])))
    kernel = format_shape((*channels, *_grid_size(result.kernels[0][0])))
    count = len(result.kernels)
    heading = (
        f"{result.operation.capitalize()}: image {image}, {f'{count} kernels' if count > 1 else 'kernel'} {kernel}"
    )
    if result.padding != (0, 0):
        heading += f", padding {_pair(result.padding)} ({result.padding_mode})"
    heading += f", stride {_pair(result.stride)}" if result.stride != (1, 1) else ""
    return heading + (f", dilation {_pair(result.dilation)}" if result.dilation != (1, 1) else "")


def definition(result: Convolution) -> tuple[str, str]:
    """What is done with the kernel, and the formula."""
    sentence, formula = _OPERATIONS[result.flip]
    return sentence, formula.text


def step_name(result: Convolution, step: ConvolutionStep) -> str:
    """An output element: `y[0, 1]`, or `y[2, 0, 1]` where there are several kernels."""
    return f"y[{f'{step.kernel}, ' if result.several else ''}{step.row}, {step.column}]"


def _pair(sizes: Pair | str) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else sizes if isinstance(sizes, str) else format_shape(sizes)


def _grid_size(grid: Sequence[Sequence[object]]) -> Pair:
    return len(grid), len(grid[0])


def _size_formula(result: Convolution, axis: int) -> Formula:
    name, (front, behind) = ("height", "width")[axis], result.margins[axis]
    size, kernel = _grid_size(result.image[0])[axis], _grid_size(result.kernels[0][0])[axis]
    above = f"{size} + {front} + {behind} − {result.dilation[axis]}·({kernel} − 1) − 1"
    output = _grid_size(result.outputs[0])[axis]
    latex_above = above.replace("−", "-").replace("·", r" \cdot ")
    floor = rf"\left\lfloor \frac{{{latex_above}}}{{{result.stride[axis]}}} \right\rfloor"
    return Formula(
        f"output {name} = ⌊({above}) / {result.stride[axis]}⌋ + 1 = {output}",
        rf"\text{{output {name}}} = {floor} + 1 = {output}",
    )


def _step_formula(result: Convolution, step: ConvolutionStep) -> Formula:
    """One output element as a sum of products; a row of the window is a line in LaTeX."""
    wide = _grid_size(result.kernels[0][0])[1]
    terms = [product.text for product in step.products]
    rows = [" + ".join(terms[start : start + wide]) for start in range(0, len(terms), wide)]
    rows += [] if step.bias is None else [step.text.rsplit(" + ", 1)[1].partition(" = ")[0]]
    name = step_name(result, step)
    body = " \\\\\n& + ".join(rows).replace("·", r" \cdot ").replace("(bias)", r"\text{ (bias)}")
    latex = rf"\begin{{aligned}} {name} ={{}} & {body} \\" + f"\n={{}} & {step.sum} " + r"\end{aligned}"
    latex = re.sub(r"e([+-]\d+)", lambda power: rf" \cdot 10^{{{int(power[1])}}}", latex)
    return Formula(f"{name} = {step.text}", latex)


def _terms_table(result: Convolution, step: ConvolutionStep) -> TitledTable:
    rows = [
        (
            *([str(product.channel)] if len(result.image) > 1 else []),
            f"{product.row}, {product.column}{' (padding)' if product.padding else ''}",
            str(product.pixel),
            f"{product.weight_row}, {product.weight_column}",
            str(product.weight),
            str(product.product),
        )
        for product in step.products
    ]
    titles = ["pixel at", "#pixel", "weight at", "#weight", "#product"]
    titles = ["#channel", *titles] if len(result.image) > 1 else titles
    return f"products of {step_name(result, step)}; weights as written", TextTable.from_rows(titles, rows)


@dataclass(frozen=True)
class _Grid:
    """The cells of a map by row and column, with a title; `marked` cells are coloured."""

    title: str
    cells: dict[Pair, str]
    marked: set[Pair] = field(default_factory=set)
    colour: str = "test"

    @property
    def rows(self) -> list[int]:
        return sorted({row for row, _ in self.cells})

    @property
    def columns(self) -> list[int]:
        return sorted({column for _, column in self.cells})

    def table(self) -> TextTable:
        rows = [[str(row), *(self.cells[row, column] for column in self.columns)] for row in self.rows]
        return TextTable.from_rows(["row", *(f"#{column}" for column in self.columns)], rows)

    def cropped(self) -> _Grid:
        """The marked cells with two on each side, where there are too many rows or columns to draw."""
        if max(len(self.rows), len(self.columns)) <= _MAX_CELLS:
            return self
        rows, columns = (
            range(min(at[axis] for at in self.marked) - 2, max(at[axis] for at in self.marked) + 3) for axis in (0, 1)
        )
        cells = {at: text for at, text in self.cells.items() if at[0] in rows and at[1] in columns}
        return replace(self, title=f"{self.title}, cropped", cells=cells)

    def width(self, cell: float) -> float:
        """The width for cells of a width."""
        return _LINE + max(cell * len(self.columns), text_width(self.title, SMALL + 1))

    @property
    def height(self) -> float:
        return _HEAD + _CELL * len(self.rows)

    def draw(self, drawing: SvgDrawing, x: float, y: float, wide: float) -> None:
        """Draw with the upper left corner at a point, and cells of a width."""
        drawing.text(x, y + 10, self.title, size=SMALL + 1, bold=True)
        left, top = x + _LINE, y + _HEAD
        rows, columns = self.rows, self.columns
        for at, column in enumerate(columns):
            drawing.text(left + wide * (at + 0.5), top - 6, str(column), size=9.5, colour="muted", anchor="middle")
        for at, row in enumerate(rows):
            drawing.text(left - 5, top + _CELL * (at + 0.5) + 4, str(row), size=9.5, colour="muted", anchor="end")
        for (row, column), text in self.cells.items():
            corner = left + wide * (column - columns[0]), top + _CELL * (row - rows[0])
            if (row, column) in self.marked:
                drawing.rectangle(*corner, wide, _CELL, fill=self.colour, opacity=0.22)
            drawing.rectangle(*corner, wide, _CELL, stroke="line")
            drawing.text(corner[0] + wide / 2, corner[1] + _CELL / 2 + 4.5, text, size=13, anchor="middle")


def _grid(
    title: str, values: Sequence[Sequence[Number]], marked: set[Pair] | None = None, colour: str = "test"
) -> _Grid:
    cells = {(row, column): str(value) for row, line in enumerate(values) for column, value in enumerate(line)}
    return _Grid(title, cells, marked or set(), colour)


def _image_grids(result: Convolution, marked: set[Pair] | None = None) -> list[_Grid]:
    """Each channel with its padding in parentheses."""
    (top, _), (left, _), (high, wide) = *result.margins, _grid_size(result.image[0])
    padded = ", padding in parentheses" if result.padded != result.image else ""
    grids = []
    for channel, values in enumerate(result.padded):
        cells = {
            (row, column): str(value) if 0 <= row < high and 0 <= column < wide else f"({value})"
            for row, line in enumerate(values, -top)
            for column, value in enumerate(line, -left)
        }
        grids.append(_Grid(f"image{_channel(result, channel)}{padded}", cells, marked or set(), "train"))
    return grids


def _kernel_grids(result: Convolution) -> list[_Grid]:
    grids = []
    for number, (written, used) in enumerate(zip(result.kernels, result.used_kernels, strict=True)):
        for channel in range(len(result.image)):
            name = f"kernel{f' {number}' if result.several else ''}{_channel(result, channel)}"
            grids.append(_grid(f"{name}, as written", written[channel]))
            if result.flip:
                grids.append(_grid(f"{name}, flipped", used[channel]))
    return grids


def _output_grids(result: Convolution) -> list[_Grid]:
    return [
        _grid(f"output of kernel {number}" if result.several else "output", grid)
        for number, grid in enumerate(result.outputs)
    ]


def _channel(result: Convolution, channel: int) -> str:
    return f", channel {channel}" if len(result.image) > 1 else ""


# Of larger maps the surroundings of the window are drawn, and of more channels the first.
_MAX_CELLS, _MAX_CHANNELS = 14, 8
_CELL, _HEAD, _GAP, _EDGE, _LINE = 32.0, 40.0, 34.0, 24.0, 20.0


@svg.register
def _(result: Convolution) -> str:
    """One step, the first of the result: a line of image, kernel and products for each channel, then the output."""
    step = result.steps[0]
    lines = [_channel_grids(result, step, channel) for channel in range(min(len(result.image), _MAX_CHANNELS))]
    lines.append([_grid("output", result.outputs[step.kernel], {(step.row, step.column)}).cropped()])
    cell = max(_CELL, *(8.0 * len(text) + 10 for line in lines for grid in line for text in grid.cells.values()))
    heading = f"{result.operation.capitalize()}: {step_name(result, step)}"
    if len(result.image) > _MAX_CHANNELS:
        heading += f" (channels 0 to {_MAX_CHANNELS - 1} of {len(result.image)} are drawn)"
    width = max(text_width(heading, 15), *(sum(grid.width(cell) + _GAP for grid in line) for line in lines))
    # In a font of one width a letter takes at most 0.62 of its size.
    texts = wrap(f"{step_name(result, step)} = {step.text}", int(width / (13 * 0.62)))
    heights = [max(grid.height for grid in line) + _LINE for line in lines]
    height = 2 * _EDGE + 2 * _LINE + sum(heights) + _LINE * len(texts)
    drawing = SvgDrawing(width + 2 * _EDGE, height, "convolution", f"{heading} = {step.text}")
    drawing.text(_EDGE, _EDGE + 10, heading, size=15, bold=True)
    y = _EDGE + 2 * _LINE
    for line, line_height in zip(lines, heights, strict=True):
        x = _EDGE
        for grid, sign in zip(line, "·= ", strict=False):
            grid.draw(drawing, x, y, cell)
            x += grid.width(cell) + _GAP
            if len(line) > 1:
                middle = x - _GAP / 2, y + line_height / 2
                drawing.text(*middle, sign.strip(), size=20, colour="muted", anchor="middle")
        y += line_height
    for number, text in enumerate(texts):
        drawing.text(_EDGE, y + _LINE * (number + 0.6), text, mono=True, size=13)
    return drawing.to_svg(standalone=True)


def _channel_grids(result: Convolution, step: ConvolutionStep, channel: int) -> list[_Grid]:
    """A channel's image, kernel and products."""
    high, wide = _grid_size(result.kernels[0][0])
    own = [product for product in step.products if product.channel == channel]
    pixels = {(product.row, product.column) for product in own}
    products: NumberGrid = [[product.product for product in own[row * wide : (row + 1) * wide]] for row in range(high)]
    every = {(row, column) for row in range(high) for column in range(wide)}
    name = f"kernel{', flipped' if result.flip else ''}{_channel(result, channel)}"
    image = _image_grids(result, pixels)[channel].cropped()
    kernel = _grid(name, result.used_kernels[step.kernel][channel], every, "validation")
    return [image, kernel, _grid("products", products, every)]
