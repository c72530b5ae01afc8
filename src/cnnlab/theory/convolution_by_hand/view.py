"""A convolution by hand as a document: formulas, tables, and a drawing of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnlab.render.document import Document, Formula, TitledTable
from cnnlab.render.formatting import display_width, format_shape, pluralize
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable
from cnnlab.theory.convolution_by_hand.inputs import ConvolutionSetup, Map, Number, to_python_number

if TYPE_CHECKING:
    from cnnlab.theory.convolution_by_hand.result import Convolution, ConvolutionStep, Product


# Larger maps are shown around the window.
MAX_CELLS = 14
MAX_CHANNELS = 8
# In pixels: a cell's least size, the room for a map's numbers and title, between maps, and around it all.
CELL, HEAD, GAP, EDGE = 32.0, 40.0, 34.0, 24.0
LINE = 20.0
MAX_NUMBER_LENGTH = 7


@dataclass(frozen=True)
class GridCell:
    """One number of a map: its colour (of the window, the kernel, the output) says what it has to do with the step."""

    text: str
    tint: str = ""
    muted: bool = False


@dataclass(frozen=True)
class NumberGrid:
    """A map of numbers with a title; `rows` and `columns` number it."""

    title: str
    cells: list[list[GridCell]]
    rows: Sequence[int]
    columns: Sequence[int]
    frame: tuple[int, int, int, int] | None = None  # row, column, height, width of a frame around cells
    colour: str = "ink"

    @property
    def cell_width(self) -> float:
        """How wide a cell is."""
        return max(CELL, *(8.0 * len(cell.text) + 10 for row in self.cells for cell in row))

    @property
    def width(self) -> float:
        return max(LINE + self.cell_width * len(self.columns), LINE + text_width(self.title, SMALL + 1))

    @property
    def height(self) -> float:
        return HEAD + CELL * len(self.rows)


def draw_step(result: Convolution, at: ConvolutionStep) -> SvgDrawing:
    """The picture of one step."""
    setup = result.setup
    channels = range(min(setup.channels, MAX_CHANNELS))
    lines = [[*_channel_grids(setup, at, channel)] for channel in channels]
    output = _output(result, at)
    columns = [max(line[number].width for line in lines) for number in range(len(lines[0]))]
    inner = sum(columns) + GAP * len(columns) + output.width
    height = max(sum(line[0].height + LINE for line in lines), output.height + LINE)
    width = max(inner, text_width(_heading(setup, at), 15)) + 2 * EDGE
    text = _wrap_sum(f"{_output_name(setup, at)} = {at.text}", width - 2 * EDGE)
    if setup.channels > MAX_CHANNELS:
        text.append(f"(channels {MAX_CHANNELS} to {setup.channels - 1} are not drawn)")
    top = EDGE + 2 * LINE
    whole = top + height + LINE * len(text) + EDGE / 2
    drawing = SvgDrawing(width, whole, "convolution", f"{_heading(setup, at)}: {at.text}")
    drawing.text(EDGE, EDGE + 10, _heading(setup, at), size=15, bold=True)
    y = top
    for line in lines:
        x, middle = EDGE, y + HEAD + CELL * len(line[1].rows) / 2
        for grid, room, sign in zip(line, columns, ("·", "=", ""), strict=True):
            _draw_grid(drawing, grid, x, y)
            if sign:
                drawing.text(x + room + GAP / 2, middle + 6, sign, size=20, colour="muted", anchor="middle")
            x += room + GAP
        y += max(grid.height for grid in line) + LINE
    _draw_grid(drawing, output, EDGE + inner - output.width, top)
    for number, part in enumerate(text):
        drawing.text(EDGE, top + height + LINE * (number + 0.6), part, mono=True, size=13)
    return drawing


def format_short(value: Number) -> str:
    """A number in the room of a cell."""
    text = str(value)
    return text if len(text) <= MAX_NUMBER_LENGTH else f"{value:.5g}"


def _heading(setup: ConvolutionSetup, at: ConvolutionStep) -> str:
    which = f" of kernel {at.kernel}" if setup.several else ""
    return f"{setup.operation.capitalize()}: the element in row {at.row}, column {at.column}{which}"


def _output_name(setup: ConvolutionSetup, at: ConvolutionStep) -> str:
    return f"y[{at.kernel}, {at.row}, {at.column}]" if setup.several else f"y[{at.row}, {at.column}]"


def _channel_grids(
    setup: ConvolutionSetup, at: ConvolutionStep, channel: int
) -> tuple[NumberGrid, NumberGrid, NumberGrid]:
    """A channel's image, kernel and products."""
    where = f", channel {channel}" if setup.channels > 1 else ""
    high, wide = setup.kernel_size
    own = at.products[channel * high * wide : (channel + 1) * high * wide]
    lines = [own[start : start + wide] for start in range(0, len(own), wide)]
    weights = [[GridCell(format_short(product.weight), "validation") for product in line] for line in lines]
    products = [[GridCell(format_short(product.product), "test") for product in line] for line in lines]
    kernel = NumberGrid(f"kernel{' flipped' if setup.flip else ''}{where}", weights, range(high), range(wide))
    return (
        _image(setup, at, channel, where),
        kernel,
        NumberGrid("products", products, range(high), range(wide)),
    )


def _image(setup: ConvolutionSetup, at: ConvolutionStep, channel: int, where: str) -> NumberGrid:
    first = setup.window_start(0, at.row), setup.window_start(1, at.column)
    rows, columns = (_visible_range(setup, axis, first[axis]) for axis in (0, 1))
    seen = {(product.row, product.column) for product in at.products}
    high, wide = setup.image_size

    def cell(row: int, column: int) -> GridCell:
        inside = 0 <= row < high and 0 <= column < wide
        value = format_short(to_python_number(setup.pixel(channel, row, column)))
        return GridCell(value, "train" if (row, column) in seen else "", muted=not inside)

    whole = len(rows) == setup.padded_size[0] and len(columns) == setup.padded_size[1]
    frame = (first[0] - rows[0], first[1] - columns[0], *setup.kernel_extent)
    padded = " with padding" if setup.padded_size != setup.image_size else ""
    title = f"image{padded}{where}{'' if whole else ', a part'}"
    return NumberGrid(title, _cells(cell, rows, columns), rows, columns, frame, "train")


def _output(result: Convolution, at: ConvolutionStep) -> NumberGrid:
    setup = result.setup
    values = result.map(at.kernel)
    rows, columns = (
        _centred_range(size, place, 1, MAX_CELLS)
        for size, place in zip(setup.output_size, (at.row, at.column), strict=True)
    )

    def cell(row: int, column: int) -> GridCell:
        return GridCell(format_short(values[row][column]), "test" if (row, column) == (at.row, at.column) else "")

    whole = (len(rows), len(columns)) == setup.output_size
    title = ("output" if not setup.several else f"output of kernel {at.kernel}") + ("" if whole else ", a part")
    frame = (at.row - rows[0], at.column - columns[0], 1, 1)
    return NumberGrid(title, _cells(cell, rows, columns), rows, columns, frame, "test")


def _cells(cell: Callable[[int, int], GridCell], rows: Sequence[int], columns: Sequence[int]) -> list[list[GridCell]]:
    return [[cell(row, column) for column in columns] for row in rows]


def _visible_range(setup: ConvolutionSetup, axis: int, first: int) -> range:
    """The rows (columns) of the padded image that are drawn, in the image's own numbers."""
    front, reach = setup.margins[axis][0], setup.kernel_extent[axis]
    drawn = _centred_range(setup.padded_size[axis], first + front, reach, max(MAX_CELLS, reach))
    return range(drawn.start - front, drawn.stop - front)


def _centred_range(size: int, first: int, length: int, max_count: int) -> range:
    """At most so many of `size` places, with those from `first` on about in the middle."""
    if size <= max_count:
        return range(size)
    start = min(max(first - (max_count - length) // 2, 0), size - max_count)
    return range(start, start + max_count)


def _draw_grid(drawing: SvgDrawing, grid: NumberGrid, x: float, y: float) -> None:
    """A map with its upper left corner at a point."""
    drawing.text(x, y + 10, grid.title, size=SMALL + 1, bold=True)
    left, top, cell = x + LINE, y + HEAD, grid.cell_width
    for number, column in enumerate(grid.columns):
        drawing.text(left + cell * (number + 0.5), top - 6, str(column), size=9.5, colour="muted", anchor="middle")
    for number, row in enumerate(grid.rows):
        drawing.text(left - 5, top + CELL * (number + 0.5) + 4, str(row), size=9.5, colour="muted", anchor="end")
        for place, one in enumerate(grid.cells[number]):
            corner = left + cell * place, top + CELL * number
            drawing.rectangle(*corner, cell, CELL, fill="panel" if one.muted else "none", stroke="line")
            if one.tint:
                drawing.rectangle(*corner, cell, CELL, fill=one.tint, opacity=0.22)
            colour = "muted" if one.muted and not one.tint else "ink"
            baseline = corner[1] + CELL / 2 + 4.5
            drawing.text(corner[0] + cell / 2, baseline, one.text, size=13, colour=colour, anchor="middle")
    if grid.frame is not None:
        row, column, high, wide = grid.frame
        corner = left + cell * column, top + CELL * row
        drawing.rectangle(*corner, cell * wide, CELL * high, stroke=grid.colour, thickness=2.5, radius=3)


def _wrap_sum(text: str, width: float) -> list[str]:
    """A sum on lines of at most this width."""
    lines = [""]
    for part in text.replace(" + ", " +\n").split("\n"):
        # A letter of one width takes 0.62 of its size in the widest of the usual fonts.
        if lines[-1] and display_width(f"{lines[-1]} {part}") * 13 * 0.62 > width:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {part}".strip() if lines[-1].strip() else lines[-1] + part
    return lines


# What a person reads through; more is had one element at a time.
MAX_SUMS = 60
# What a terminal and a page have room for.
MAX_COLUMNS, MAX_ROWS, MAX_TABLES = 24, 40, 16

_OPERATION_TEXT = {
    True: "True convolution: each kernel is flipped, top to bottom and left to right, before it slides over the image.",
    False: "Cross-correlation: each kernel slides over the image as it is written.",
}
_REASON_TEXT = {
    True: (
        "Deep-learning libraries do the other one, cross-correlation, and call it convolution (torch's conv2d): their "
        "weights are learned, so a flip would only rename them. Flip the kernel first, and conv2d gives this output."
    ),
    False: (
        "This is what deep-learning libraries call convolution (torch's conv2d): their weights are learned, so the "
        "flip of a true convolution would only rename them. For the true convolution, flip the kernel first."
    ),
}


def convolution_document(result: Convolution, at: ConvolutionStep | None = None) -> Document:
    """The worked answer: with `at`, of that element alone."""
    setup = result.setup
    lines: list[str | Formula] = [operation(setup), reason(setup), definition(setup), indices(setup)]
    if at is None:
        lines += [size_formula(setup, axis) for axis in (0, 1)]
        return Document(title(setup), tuple(lines), (*_inputs(setup), *_outputs(result)), tuple(_notes(result)))
    lines.append(element(setup, at))
    return Document(title(setup), tuple(lines), tuple(_window(setup, at)), tuple(_padding_note(at)))


def title(setup: ConvolutionSetup) -> str:
    """What is done to what."""
    image = format_shape((setup.channels, *setup.image_size) if setup.channels > 1 else setup.image_size)
    kernel = format_shape((setup.channels, *setup.kernel_size) if setup.channels > 1 else setup.kernel_size)
    count = len(setup.kernels)
    over = f"a {kernel} kernel" if count == 1 else f"{count} kernels of {kernel}"
    article = "an" if image.startswith("8") else "a"
    return f"{setup.operation.capitalize()} of {article} {image} image with {over}{_options_text(setup)}"


def operation(setup: ConvolutionSetup) -> str:
    """What is done with the kernel."""
    return _OPERATION_TEXT[setup.flip]


def reason(setup: ConvolutionSetup) -> str:
    """Why libraries do the one and call it the other."""
    return _REASON_TEXT[setup.flip]


def definition(setup: ConvolutionSetup) -> Formula:
    """The operation as a textbook has it."""
    sign, ring, latex = ("−", "∗", r"*") if setup.flip else ("+", "⋆", r"\star")
    plus = "-" if setup.flip else "+"
    return Formula(
        f"(w {ring} x)(i, j) = Σm Σn w(m, n)·x(i {sign} m, j {sign} n)",
        rf"(w {latex} x)(i, j) = \sum_m \sum_n w(m, n)\, x(i {plus} m, j {plus} n)",
    )


def indices(setup: ConvolutionSetup) -> Formula:
    """The same with the indices of this image: rows and columns from 0, those in the padding below 0."""
    several, deep = setup.several, setup.channels > 1
    high, wide = setup.kernel_size
    front = ("k, " if several else "") + ("c, " if deep else "")
    flipped = f"{high - 1}−m, {wide - 1}−n" if setup.flip else "m, n"
    places = ", ".join(_index_text(setup, axis) for axis in (0, 1))
    bias = "" if setup.bias is None else (" + b[k]" if several else " + b")
    sums = "".join(
        f"Σ{name}=0..{last} "
        for name, last in ((("c", setup.channels - 1),) if deep else ()) + (("m", high - 1), ("n", wide - 1))
    )
    text = f"y[{'k, ' if several else ''}i, j] = {sums}w[{front}{flipped}]·x[{'c, ' if deep else ''}{places}]{bias}"
    latex = rf"y_{{{'k, ' if several else ''}i, j}} = " + (
        (rf"\sum_{{c=0}}^{{{setup.channels - 1}}} " if deep else "")
        + rf"\sum_{{m=0}}^{{{high - 1}}} \sum_{{n=0}}^{{{wide - 1}}} "
        + rf"w_{{{front}{flipped}}}\, x_{{{'c, ' if deep else ''}{places}}}"
        + ("" if setup.bias is None else (" + b_k" if several else " + b"))
    ).replace("−", "-").replace("·", r" \cdot ")
    return Formula(text, latex)


def size_formula(setup: ConvolutionSetup, axis: int) -> Formula:
    """The output's height (axis 0) or width (axis 1) from its parts."""
    name, size, kernel = ("height", "width")[axis], setup.image_size[axis], setup.kernel_size[axis]
    (front, behind), step, gap = setup.margins[axis], setup.stride[axis], setup.dilation[axis]
    above = f"{size} + {front} + {behind} − {gap}·({kernel} − 1) − 1"
    result = setup.axis_size(axis).size
    return Formula(
        f"output {name} = ⌊({above}) / {step}⌋ + 1 = {result}",
        rf"\text{{output {name}}} = \left\lfloor \frac{{{above}}}{{{step}}} \right\rfloor + 1 = {result}".replace(
            "−", "-"
        ).replace("·", r" \cdot "),
    )


def element(setup: ConvolutionSetup, at: ConvolutionStep) -> Formula:
    """One output element as a sum of products; a row of the window is a line in LaTeX."""
    place = f"{at.kernel}, {at.row}, {at.column}" if setup.several else f"{at.row}, {at.column}"
    wide = setup.kernel_size[1]
    texts = [f"{_latex_factor(product.weight)} \\cdot {_latex_factor(product.pixel)}" for product in at.products]
    rows = [" + ".join(texts[start : start + wide]) for start in range(0, len(texts), wide)]
    if at.bias is not None:
        rows.append(rf"{_latex_factor(at.bias)} \quad \text{{(bias)}}")
    broken = " \\\\\n& + ".join(rows)
    latex = rf"\begin{{aligned}} y_{{{place}}} ={{}} & {broken} \\" + f"\n={{}} & {_latex_number(at.sum)}"
    return Formula(f"y[{place}] = {at.text}", latex + r" \end{aligned}")


def _options_text(setup: ConvolutionSetup) -> str:
    """Stride, padding and dilation where they are not the plainest."""
    parts = []
    if setup.padding == "same":
        parts.append(f"padding 'same' ({setup.padding_mode})")
    elif setup.padding != (0, 0):
        parts.append(f"padding {_pair(setup.padding)} ({setup.padding_mode})")
    parts += [f"stride {_pair(setup.stride)}"] if setup.stride != (1, 1) else []
    parts += [f"dilation {_pair(setup.dilation)}"] if setup.dilation != (1, 1) else []
    return "".join(f", {part}" for part in parts)


def _pair(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else format_shape(sizes)


def _index_text(setup: ConvolutionSetup, axis: int) -> str:
    """The row (column) of the image that a weight meets, as in `2·i − 1 + m`."""
    out, within = ("i", "m") if axis == 0 else ("j", "n")
    step, gap, front = setup.stride[axis], setup.dilation[axis], setup.margins[axis][0]
    start = (f"{step}·{out}" if step > 1 else out) + (f" − {front}" if front else "")
    return f"{start} + {f'{gap}·' if gap > 1 else ''}{within}"


def _inputs(setup: ConvolutionSetup) -> list[TitledTable]:
    """The image with its padding, and each kernel as written and as it is used."""
    tables = []
    if not _fits_table(setup.padded_size, setup.channels):
        return []
    padded = "with its padding in parentheses" if setup.padded_size != setup.image_size else ""
    for channel in range(setup.channels):
        tables.append((_joined("image", _channel_title(setup, channel), padded), _padded(setup, channel)))
    if _fits_table(setup.kernel_size, len(setup.kernels) * setup.channels):
        for kernel in range(len(setup.kernels)):
            for channel in range(setup.channels):
                which = _joined(f"kernel {kernel}" if setup.several else "kernel", _channel_title(setup, channel), "")
                tables.append((f"{which}, as written", _grid(setup.kernels[kernel][channel])))
                if setup.flip:
                    tables.append((f"{which}, flipped as it is used", _grid(setup.oriented_kernel(kernel, channel))))
    return tables


def _outputs(result: Convolution) -> list[TitledTable]:
    setup = result.setup
    tables: list[TitledTable] = []
    if _fits_table(setup.output_size, len(setup.kernels)):
        for kernel in range(len(setup.kernels)):
            cells = [[str(value) for value in row] for row in result.map(kernel)]
            tables.append((f"output of kernel {kernel}" if setup.several else "output", _table(cells, 0, 0)))
    if _count(setup) <= MAX_SUMS:
        rows = [(_element_name(setup, step), step.text) for step in result.steps]
        tables.append(("every output element: weight·pixel, in the window's reading order", _sums(rows)))
    return tables


def _notes(result: Convolution) -> list[str]:
    setup = result.setup
    notes = []
    for axis, what in ((0, "row"), (1, "column")):
        left = setup.axis_size(axis).unseen
        if left:
            notes.append(
                f"No window reaches the last {'' if left == 1 else f'{left} '}{what if left == 1 else what + 's'} "
                "of the padded image."
            )
    if _count(setup) > MAX_SUMS:
        notes.append(
            f"{_count(setup):,} output elements are too many to write out here: ask for one, by its row and "
            "column (--at ROW,COLUMN; in Python, at(row, column))."
        )
    tables = (setup.padded_size, setup.channels), (setup.output_size, len(setup.kernels))
    if not all(_fits_table(*each) for each in tables):
        notes.append("What is too large for a table is left out here; the JSON has all numbers.")
    return notes


def _padding_note(at: ConvolutionStep) -> list[str]:
    parts = [product.product for product in at.products]
    zeros = sum(1 for product in at.products if product.padding)
    note = f"{pluralize(len(parts), 'product')}, {zeros} of them with padding" if zeros else ""
    return [note + "."] if note else []


def _window(setup: ConvolutionSetup, at: ConvolutionStep) -> list[TitledTable]:
    """Channel by channel: the pixels under the window, the weights that lie on them, and their products."""
    tables: list[TitledTable] = []
    high, wide = setup.kernel_size
    if not _fits_table((high, wide), 3 * setup.channels):
        return tables
    used = "kernel, flipped as it is used" if setup.flip else "kernel"
    for channel in range(setup.channels):
        where = _channel_title(setup, channel)
        own = at.products[channel * high * wide : (channel + 1) * high * wide]
        lines = [own[start : start + wide] for start in range(0, len(own), wide)]
        rows, columns = [line[0].row for line in lines], [product.column for product in lines[0]]
        pixels = [[_pixel_text(product) for product in line] for line in lines]
        products = [[f"{product.text} = {product.product}" for product in line] for line in lines]
        weights = [[str(product.weight) for product in line] for line in lines]
        tables.append((_joined("pixels under the window", where, ""), _labelled_table(pixels, rows, columns)))
        tables.append((_joined(used, where, ""), _table(weights, 0, 0)))
        tables.append((_joined("weight·pixel", where, ""), _labelled_table(products, rows, columns)))
    return tables


def _pixel_text(product: Product) -> str:
    return f"({product.pixel})" if product.padding else str(product.pixel)


def _padded(setup: ConvolutionSetup, channel: int) -> TextTable:
    (top, _), (left, _) = setup.margins
    (high, wide), (rows, columns) = setup.padded_size, setup.image_size
    cells = []
    for row in range(-top, high - top):
        line = [(column, to_python_number(setup.pixel(channel, row, column))) for column in range(-left, wide - left)]
        inside = 0 <= row < rows
        cells.append([str(value) if inside and 0 <= at < columns else f"({value})" for at, value in line])
    return _table(cells, -top, -left)


def _grid(values: Map) -> TextTable:
    return _table([[str(to_python_number(value)) for value in row] for row in values], 0, 0)


def _table(cells: list[list[str]], row: int, column: int) -> TextTable:
    """Numbers with the numbers of their rows and columns, which begin with these."""
    return _labelled_table(cells, range(row, row + len(cells)), range(column, column + len(cells[0])))


def _labelled_table(cells: list[list[str]], rows: Iterable[int], columns: Iterable[int]) -> TextTable:
    lines = [[str(number), *line] for number, line in zip(rows, cells, strict=True)]
    return TextTable.from_rows(["row", *(f"#{number}" for number in columns)], lines)


def _sums(rows: Iterable[tuple[str, str]]) -> TextTable:
    return TextTable.from_rows(["element", "sum of products"], rows)


def _element_name(setup: ConvolutionSetup, step: ConvolutionStep) -> str:
    return f"y[{step.kernel}, {step.row}, {step.column}]" if setup.several else f"y[{step.row}, {step.column}]"


def _channel_title(setup: ConvolutionSetup, channel: int) -> str:
    return f"channel {channel}" if setup.channels > 1 else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _fits_table(size: tuple[int, int], count: int) -> bool:
    return size[0] <= MAX_ROWS and size[1] <= MAX_COLUMNS and count <= MAX_TABLES


def _count(setup: ConvolutionSetup) -> int:
    return len(setup.kernels) * setup.output_size[0] * setup.output_size[1]


def _latex_number(value: int | float) -> str:
    mantissa, e, power = str(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(power)}}}" if e else mantissa


def _latex_factor(value: int | float) -> str:
    return f"({_latex_number(value)})" if value < 0 else _latex_number(value)
