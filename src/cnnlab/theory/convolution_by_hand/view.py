"""View of a convolution by hand: formulas, tables, and a drawing of one step."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.formatting import format_shape, wrap
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Number, Pair

# What fits into a terminal and on a page: sums, rows and columns of a table, and tables; the JSON has everything.
_MAX_SUMS, _MAX_SIDE, _MAX_TABLES = 60, 24, 16

# What is done with the kernel, and the formula; by whether the kernel is flipped.
OPERATIONS = {
    True: (
        "The kernel is flipped in both directions before it slides over the image; torch's conv2d does not flip it.",
        Formula(
            "(w ∗ x)(i, j) = Σm Σn w(m, n)·x(i − m, j − n)",
            r"(w * x)(i, j) = \sum_m \sum_n w(m, n)\, x(i - m, j - n)",
        ),
    ),
    False: (
        "The kernel slides over the image as it is written, as in torch's conv2d; a true convolution flips it first.",
        Formula(
            "(w ⋆ x)(i, j) = Σm Σn w(m, n)·x(i + m, j + n)",
            r"(w \star x)(i, j) = \sum_m \sum_n w(m, n)\, x(i + m, j + n)",
        ),
    ),
}


@document.register
def _(result: Convolution) -> Document:
    lines = (*OPERATIONS[result.flip], _size_formula(result, 0), _size_formula(result, 1))
    if len(result.steps) == 1:
        (step,) = result.steps
        padding = sum(product.padding for product in step.products)
        terms = [_terms_table(result, step)] if len(step.products) <= _MAX_SUMS else []
        note = f"{len(step.products)} products, {padding} of them with padding."
        return Document(title(result), (*lines, _step_formula(result, step)), tuple(terms), (note,))
    tables = [
        (name, table)
        for name, table in _all_grids(result)[:_MAX_TABLES]
        if max(len(table.rows), len(table.columns) - 1) <= _MAX_SIDE
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
    image, kernel = (format_shape((*channels, *size)) for size in (result.image_size, result.kernel_size))
    count = len(result.kernels)
    options = [f"kernel {kernel}" if count == 1 else f"{count} kernels {kernel}"]
    if result.padding != (0, 0):
        options.append(f"padding {_pair(result.padding)} ({result.padding_mode})")
    options += [f"stride {_pair(result.stride)}"] if result.stride != (1, 1) else []
    options += [f"dilation {_pair(result.dilation)}"] if result.dilation != (1, 1) else []
    return f"{result.operation.capitalize()}: image {image}, {', '.join(options)}"


def step_name(result: Convolution, step: ConvolutionStep) -> str:
    """An output element: `y[0, 1]`, or `y[2, 0, 1]` where there are several kernels."""
    return f"y[{f'{step.kernel}, ' if result.several else ''}{step.row}, {step.column}]"


def _pair(sizes: Pair | str) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else sizes if isinstance(sizes, str) else format_shape(sizes)


def _size_formula(result: Convolution, axis: int) -> Formula:
    name, (front, behind) = ("height", "width")[axis], result.margins[axis]
    kernel, stride, output = result.kernel_size[axis], result.stride[axis], result.output_size[axis]
    above = f"{result.image_size[axis]} + {front} + {behind} − {result.dilation[axis]}·({kernel} − 1) − 1"
    return Formula.from_text(f"output {name} = ⌊({above}) / {stride}⌋ + 1 = {output}")


def _step_formula(result: Convolution, step: ConvolutionStep) -> Formula:
    """One output element as a sum of products; a row of the window is a line in LaTeX."""
    name, wide = step_name(result, step), result.kernel_size[1]
    terms = step.text.partition(" = ")[0].split(" + ")
    rows = [" + ".join(terms[start : start + wide]) for start in range(0, len(terms), wide)]
    body = " \\\\\n& + ".join(rows).replace("·", r" \cdot ").replace("(bias)", r"\text{ (bias)}")
    latex = rf"\begin{{aligned}} {name} ={{}} & {body} \\" + f"\n={{}} & {step.sum} " + r"\end{aligned}"
    latex = re.sub(r"e([+-]\d+)", lambda power: rf" \cdot 10^{{{int(power[1])}}}", latex)
    return Formula(f"{name} = {step.text}", latex)


def _terms_table(result: Convolution, step: ConvolutionStep) -> TitledTable:
    rows = [
        (
            str(product.channel),
            f"{product.row}, {product.column}{' (padding)' if product.padding else ''}",
            str(product.pixel),
            f"{product.weight_row}, {product.weight_column}",
            str(product.weight),
            str(product.product),
        )
        for product in step.products
    ]
    table = TextTable.from_rows(("#channel", "pixel at", "#pixel", "weight at", "#weight", "#product"), rows)
    table = table if len(result.image) > 1 else table.drop_columns(["channel"])
    return f"products of {step_name(result, step)}; weights as written", table


def _grid(title: str, values: Sequence[Sequence[Number | str]], first: Pair = (0, 0)) -> TitledTable:
    """A map as a table with the numbers of its rows and columns; `first` are those of its first cell."""
    columns = (f"#{first[1] + number}" for number in range(len(values[0])))
    rows = [(str(row), *map(str, cells)) for row, cells in enumerate(values, first[0])]
    return title, TextTable.from_rows(("row", *columns), rows)


def _all_grids(result: Convolution) -> list[TitledTable]:
    """The image, the kernels and the outputs."""
    grids = [_image_grid(result, channel) for channel in range(len(result.image))]
    for number, (written, used) in enumerate(zip(result.kernels, result.used_kernels, strict=True)):
        for channel in range(len(result.image)):
            name = f"kernel{f' {number}' if result.several else ''}{_channel(result, channel)}"
            grids.append(_grid(f"{name}, as written", written[channel]))
            if result.flip:
                grids.append(_grid(f"{name}, flipped", used[channel]))
    for number, output in enumerate(result.outputs):
        grids.append(_grid(f"output of kernel {number}" if result.several else "output", output))
    return grids


def _image_grid(result: Convolution, channel: int) -> TitledTable:
    """A channel with its padding in parentheses."""
    (top, _), (left, _), (high, wide) = *result.margins, result.image_size
    cells = [
        [
            value if 0 <= row < high and 0 <= column < wide else f"({value})"
            for column, value in enumerate(values, -left)
        ]
        for row, values in enumerate(result.padded[channel], -top)
    ]
    padded = ", padding in parentheses" if result.padded != result.image else ""
    return _grid(f"image{_channel(result, channel)}{padded}", cells, (-top, -left))


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
    lines.append([_MarkedGrid(_grid("output", result.outputs[step.kernel]), {(step.row, step.column)}, "test")])
    texts = [cell for line in lines for grid in line for row in grid.rows for cell in row[1:]]
    cell = max(_CELL, *(8.0 * len(text) + 10 for text in texts))
    heading = f"{result.operation.capitalize()}: {step_name(result, step)}"
    if len(result.image) > _MAX_CHANNELS:
        heading += f" (channels 0 to {_MAX_CHANNELS - 1} of {len(result.image)} are drawn)"
    width = max(text_width(heading, 15), *(sum(grid.width(cell) + _GAP for grid in line) for line in lines))
    # In a font of one width a letter takes at most 0.62 of its size.
    sums = wrap(f"{step_name(result, step)} = {step.text}", int(width / (13 * 0.62)))
    heights = [max(grid.height for grid in line) + _LINE for line in lines]
    height = 2 * _EDGE + 2 * _LINE + sum(heights) + _LINE * len(sums)
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
    for number, text in enumerate(sums):
        drawing.text(_EDGE, y + _LINE * (number + 0.6), text, mono=True, size=13)
    return drawing.to_svg(standalone=True)


def _channel_grids(result: Convolution, step: ConvolutionStep, channel: int) -> list[_MarkedGrid]:
    """A channel's image, kernel and products."""
    (top, _), (left, _), (high, wide) = *result.margins, result.kernel_size
    own = [product for product in step.products if product.channel == channel]
    products = [[product.product for product in own[row * wide : (row + 1) * wide]] for row in range(high)]
    every = {(row, column) for row in range(high) for column in range(wide)}
    window = {(product.row + top, product.column + left) for product in own}
    name = f"kernel{', flipped' if result.flip else ''}{_channel(result, channel)}"
    return [
        _MarkedGrid(_image_grid(result, channel), window, "train"),
        _MarkedGrid(_grid(name, result.used_kernels[step.kernel][channel]), every, "validation"),
        _MarkedGrid(_grid("products", products), every, "test"),
    ]


class _MarkedGrid:
    """A map to be drawn, some of whose cells are coloured; of a large one only these, with two cells around them."""

    def __init__(self, grid: TitledTable, marked: set[Pair], colour: str) -> None:
        self.title, table = grid
        self.columns = [column.title for column in table.columns]
        self.rows, self.marked, self.colour = list(table.rows), marked, colour
        if max(len(self.rows), len(self.columns) - 1) > _MAX_CELLS:
            top, left = (max(min(at) - 2, 0) for at in zip(*marked, strict=True))
            bottom, right = (max(at) + 3 for at in zip(*marked, strict=True))
            self.title += ", cropped"
            self.columns = ["row", *self.columns[left + 1 : right + 1]]
            self.rows = [(row[0], *row[left + 1 : right + 1]) for row in self.rows[top:bottom]]
            self.marked = {(row - top, column - left) for row, column in marked}

    def width(self, cell: float) -> float:
        """The width for cells of a width."""
        return _LINE + max(cell * (len(self.columns) - 1), text_width(self.title, SMALL + 1))

    @property
    def height(self) -> float:
        return _HEAD + _CELL * len(self.rows)

    def draw(self, drawing: SvgDrawing, x: float, y: float, wide: float) -> None:
        """Draw with the upper left corner at a point, and cells of a width."""
        drawing.text(x, y + 10, self.title, size=SMALL + 1, bold=True)
        left, top = x + _LINE, y + _HEAD
        for number, title in enumerate(self.columns[1:]):
            drawing.text(left + wide * (number + 0.5), top - 6, title, size=9.5, colour="muted", anchor="middle")
        for row, (title, *cells) in enumerate(self.rows):
            y = top + _CELL * row
            drawing.text(left - 5, y + _CELL / 2 + 4, title, size=9.5, colour="muted", anchor="end")
            for column, text in enumerate(cells):
                x = left + wide * column
                if (row, column) in self.marked:
                    drawing.rectangle(x, y, wide, _CELL, fill=self.colour, opacity=0.22)
                drawing.rectangle(x, y, wide, _CELL, stroke="line")
                drawing.text(x + wide / 2, y + _CELL / 2 + 4.5, text, size=13, anchor="middle")
