"""One step of a convolution as a picture: the window on the image, the kernel, their products, and the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnlab.render import formatting
from cnnlab.render.svg import SMALL, Drawing, text_width
from cnnlab.theory.convolution.setting import Number, Setting, plain

if TYPE_CHECKING:
    from cnnlab.theory.convolution.answer import Convolution, Step

# Larger maps are shown around the window.
MOST_CELLS = 14
MOST_CHANNELS = 8
# In pixels: a cell's least size, the room for a map's numbers and title, between maps, and around it all.
CELL, HEAD, GAP, EDGE = 32.0, 40.0, 34.0, 24.0
LINE = 20.0
LONGEST = 7


@dataclass(frozen=True)
class Cell:
    """One number of a map: its colour (of the window, the kernel, the output) says what it has to do with the step."""

    text: str
    tint: str = ""
    faint: bool = False


@dataclass(frozen=True)
class Grid:
    """A map of numbers with a title; `rows` and `columns` number it."""

    title: str
    cells: list[list[Cell]]
    rows: Sequence[int]
    columns: Sequence[int]
    frame: tuple[int, int, int, int] | None = None  # row, column, height, width of a frame around cells
    colour: str = "ink"

    @property
    def cell(self) -> float:
        """How wide a cell is."""
        return max(CELL, *(8.0 * len(cell.text) + 10 for row in self.cells for cell in row))

    @property
    def width(self) -> float:
        return max(LINE + self.cell * len(self.columns), LINE + text_width(self.title, SMALL + 1))

    @property
    def height(self) -> float:
        return HEAD + CELL * len(self.rows)


def draw(found: Convolution, at: Step) -> Drawing:
    """The picture of one step."""
    setting = found.setting
    channels = range(min(setting.channels, MOST_CHANNELS))
    lines = [[*_channel(setting, at, channel)] for channel in channels]
    output = _output(found, at)
    columns = [max(line[number].width for line in lines) for number in range(len(lines[0]))]
    inner = sum(columns) + GAP * len(columns) + output.width
    height = max(sum(line[0].height + LINE for line in lines), output.height + LINE)
    width = max(inner, text_width(_heading(setting, at), 15)) + 2 * EDGE
    text = _folded(f"{_name(setting, at)} = {at.text}", width - 2 * EDGE)
    if setting.channels > MOST_CHANNELS:
        text.append(f"(channels {MOST_CHANNELS} to {setting.channels - 1} are not drawn)")
    top = EDGE + 2 * LINE
    whole = top + height + LINE * len(text) + EDGE / 2
    made = Drawing(width, whole, "convolution", f"{_heading(setting, at)}: {at.text}")
    made.text(EDGE, EDGE + 10, _heading(setting, at), size=15, bold=True)
    y = top
    for line in lines:
        x, middle = EDGE, y + HEAD + CELL * len(line[1].rows) / 2
        for grid, room, sign in zip(line, columns, ("·", "=", ""), strict=True):
            _draw(made, grid, x, y)
            if sign:
                made.text(x + room + GAP / 2, middle + 6, sign, size=20, colour="muted", anchor="middle")
            x += room + GAP
        y += max(grid.height for grid in line) + LINE
    _draw(made, output, EDGE + inner - output.width, top)
    for number, part in enumerate(text):
        made.text(EDGE, top + height + LINE * (number + 0.6), part, mono=True, size=13)
    return made


def short(value: Number) -> str:
    """A number in the room of a cell."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{value:.5g}"


def _heading(setting: Setting, at: Step) -> str:
    which = f" of kernel {at.kernel}" if setting.several else ""
    return f"{setting.operation.capitalize()}: the element in row {at.row}, column {at.column}{which}"


def _name(setting: Setting, at: Step) -> str:
    return f"y[{at.kernel}, {at.row}, {at.column}]" if setting.several else f"y[{at.row}, {at.column}]"


def _channel(setting: Setting, at: Step, channel: int) -> tuple[Grid, Grid, Grid]:
    """A channel's image, kernel and products."""
    where = f", channel {channel}" if setting.channels > 1 else ""
    high, wide = setting.kernel_size
    own = at.products[channel * high * wide : (channel + 1) * high * wide]
    lines = [own[start : start + wide] for start in range(0, len(own), wide)]
    weights = [[Cell(short(product.weight), "validation") for product in line] for line in lines]
    products = [[Cell(short(product.product), "test") for product in line] for line in lines]
    kernel = Grid(f"kernel{' flipped' if setting.flip else ''}{where}", weights, range(high), range(wide))
    return (
        _image(setting, at, channel, where),
        kernel,
        Grid("products", products, range(high), range(wide)),
    )


def _image(setting: Setting, at: Step, channel: int, where: str) -> Grid:
    first = setting.start(0, at.row), setting.start(1, at.column)
    rows, columns = (_seen(setting, axis, first[axis]) for axis in (0, 1))
    seen = {(product.row, product.column) for product in at.products}
    high, wide = setting.image_size

    def cell(row: int, column: int) -> Cell:
        inside = 0 <= row < high and 0 <= column < wide
        value = short(plain(setting.pixel(channel, row, column)))
        return Cell(value, "train" if (row, column) in seen else "", faint=not inside)

    whole = len(rows) == setting.padded_size[0] and len(columns) == setting.padded_size[1]
    frame = (first[0] - rows[0], first[1] - columns[0], *setting.reach)
    padded = " with padding" if setting.padded_size != setting.image_size else ""
    title = f"image{padded}{where}{'' if whole else ', a part'}"
    return Grid(title, _cells(cell, rows, columns), rows, columns, frame, "train")


def _output(found: Convolution, at: Step) -> Grid:
    setting = found.setting
    values = found.map(at.kernel)
    rows, columns = (
        _around(size, place, 1, MOST_CELLS)
        for size, place in zip(setting.output_size, (at.row, at.column), strict=True)
    )

    def cell(row: int, column: int) -> Cell:
        return Cell(short(values[row][column]), "test" if (row, column) == (at.row, at.column) else "")

    whole = (len(rows), len(columns)) == setting.output_size
    title = ("output" if not setting.several else f"output of kernel {at.kernel}") + ("" if whole else ", a part")
    frame = (at.row - rows[0], at.column - columns[0], 1, 1)
    return Grid(title, _cells(cell, rows, columns), rows, columns, frame, "test")


def _cells(cell: Callable[[int, int], Cell], rows: Sequence[int], columns: Sequence[int]) -> list[list[Cell]]:
    return [[cell(row, column) for column in columns] for row in rows]


def _seen(setting: Setting, axis: int, first: int) -> range:
    """The rows (columns) of the padded image that are drawn, in the image's own numbers."""
    front, reach = setting.margins[axis][0], setting.reach[axis]
    drawn = _around(setting.padded_size[axis], first + front, reach, max(MOST_CELLS, reach))
    return range(drawn.start - front, drawn.stop - front)


def _around(size: int, first: int, length: int, most: int) -> range:
    """At most so many of `size` places, with those from `first` on about in the middle."""
    if size <= most:
        return range(size)
    start = min(max(first - (most - length) // 2, 0), size - most)
    return range(start, start + most)


def _draw(made: Drawing, grid: Grid, x: float, y: float) -> None:
    """A map with its upper left corner at a point."""
    made.text(x, y + 10, grid.title, size=SMALL + 1, bold=True)
    left, top, cell = x + LINE, y + HEAD, grid.cell
    for number, column in enumerate(grid.columns):
        made.text(left + cell * (number + 0.5), top - 6, str(column), size=9.5, colour="muted", anchor="middle")
    for number, row in enumerate(grid.rows):
        made.text(left - 5, top + CELL * (number + 0.5) + 4, str(row), size=9.5, colour="muted", anchor="end")
        for place, one in enumerate(grid.cells[number]):
            corner = left + cell * place, top + CELL * number
            made.rectangle(*corner, cell, CELL, fill="panel" if one.faint else "none", stroke="line")
            if one.tint:
                made.rectangle(*corner, cell, CELL, fill=one.tint, opacity=0.22)
            colour = "muted" if one.faint and not one.tint else "ink"
            baseline = corner[1] + CELL / 2 + 4.5
            made.text(corner[0] + cell / 2, baseline, one.text, size=13, colour=colour, anchor="middle")
    if grid.frame is not None:
        row, column, high, wide = grid.frame
        corner = left + cell * column, top + CELL * row
        made.rectangle(*corner, cell * wide, CELL * high, stroke=grid.colour, thickness=2.5, radius=3)


def _folded(text: str, width: float) -> list[str]:
    """A sum on lines of at most this width."""
    lines = [""]
    for part in text.replace(" + ", " +\n").split("\n"):
        # A letter of one width takes 0.62 of its size in the widest of the usual fonts.
        if lines[-1] and formatting.columns(f"{lines[-1]} {part}") * 13 * 0.62 > width:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {part}".strip() if lines[-1].strip() else lines[-1] + part
    return lines
