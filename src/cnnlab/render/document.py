"""Documents of lines, formulas, tables and notes, as HTML, Markdown and LaTeX."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from dataclasses import dataclass

from cnnlab.render.formatting import sanitize
from cnnlab.render.tables import Column, TextTable

_TEX = {
    **dict(zip("&%$#_{}", (f"\\{sign}" for sign in "&%$#_{}"), strict=True)),
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "–": "--",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "⌊": r"$\lfloor$",
    "⌋": r"$\rfloor$",
    "⌈": r"$\lceil$",
    "⌉": r"$\rceil$",
    "√": r"$\surd$",
    "Σ": r"$\Sigma$",
    "‖": r"$\Vert$",
    "→": r"$\to$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
}


_FORMULA_SIGNS = {
    "·": r" \cdot ",
    "−": "-",
    "≈": r"\approx",
    "⌊": r"\left\lfloor ",
    "⌋": r" \right\rfloor",
    "⌈": r"\left\lceil ",
    "⌉": r" \right\rceil",
}


@dataclass(frozen=True)
class Formula:
    """A formula as text and as LaTeX."""

    text: str
    latex: str

    @classmethod
    def from_text(cls, text: str) -> Formula:
        r"""Make a formula of arithmetic with one-letter names and words, and one fraction `(…) / x` at most.

        >>> Formula.from_text("rows: O = (32 − 5) / 2 + 1 = 29/2").latex
        '\\text{rows:} O = \\frac{32 - 5}{2} + 1 = \\frac{29}{2}'
        """
        latex = re.sub(r"[a-z][a-z ]+[a-z]:?", lambda words: rf"\text{{{words[0]}}}", text)
        latex = re.sub(r"(\d+)/(\d+)", r"\\frac{\1}{\2}", latex).replace(",", "{,}")
        # The numerator is all between the first "(" and the ")" before " / ".
        latex = re.sub(
            r"\((.*)\) / (?:\(([^)]*)\)|(\w+))", lambda found: rf"\frac{{{found[1]}}}{{{found[2] or found[3]}}}", latex
        )
        return cls(text, "".join(_FORMULA_SIGNS.get(letter, letter) for letter in latex))


TitledTable = tuple[str, TextTable]


@dataclass(frozen=True)
class Document:
    """A document; a line is text or a formula, and the title of a table may be empty."""

    title: str
    lines: tuple[str | Formula, ...] = ()
    tables: tuple[TitledTable, ...] = ()
    notes: tuple[str, ...] = ()

    def to_html(self, drawing: str = "") -> str:
        """Convert to self-contained HTML, as for a notebook.

        Args:
            drawing: a standalone SVG, shown above the tables.
        """
        parts = [f"<p><strong>{_html(self.title)}</strong></p>"]
        parts += [f"<p>{_html(line)}</p>" if isinstance(line, str) else _html_formula(line) for line in self.lines]
        if drawing:
            # As an image, so that its styles and those of the notebook are separate.
            coded = base64.b64encode(drawing.encode("utf-8")).decode()
            parts.append(f'<p><img style="max-width: 100%" alt="" src="data:image/svg+xml;base64,{coded}"></p>')
        parts += [_html_table(title, table) for title, table in self.tables]
        parts += [f"<p>{_html(note)}</p>" for note in self.notes]
        return f'<div class="cnnlab">{"".join(parts)}</div>'

    def to_markdown(self) -> str:
        """Convert to Markdown with `$…$` for formulas, as on GitHub and in notebooks."""
        parts = [f"**{_markdown(self.title)}**"]
        parts += [_markdown(line) if isinstance(line, str) else f"$${line.latex}$$" for line in self.lines]
        parts += [_markdown_table(title, table) for title, table in self.tables]
        parts += [_markdown(note) for note in self.notes]
        return "\n\n".join(parts) + "\n"

    def to_latex(self) -> str:
        """Convert to LaTeX, for the packages amsmath and booktabs."""
        parts = [rf"\paragraph{{{_latex(self.title)}}}"]
        parts += [_latex(line) if isinstance(line, str) else rf"\[ {line.latex} \]" for line in self.lines]
        parts += [_latex_table(title, table) for title, table in self.tables]
        parts += [_latex(note) for note in self.notes]
        return "\n\n".join(parts) + "\n"


def _render_cells(row: tuple[str, ...], table: TextTable, cell: Callable[[str, Column], str]) -> list[str]:
    return [cell(text, column) for text, column in zip(row, table.columns, strict=True)]


def _html(text: str) -> str:
    return html.escape(sanitize(text))


def _html_formula(line: Formula) -> str:
    return f'<p style="margin-left: 2em; font-family: monospace">{_html(line.text)}</p>'


def _html_table(title: str, table: TextTable) -> str:
    head = "".join(f"<th{_alignment_attribute(column)}>{_html(column.title)}</th>" for column in table.columns)
    rows = ["".join(_render_cells(row, table, _html_cell)) for row in table.rows]
    caption = f'<caption style="text-align: left">{_html(title)}</caption>' if title else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _alignment_attribute(column: Column) -> str:
    return f' style="text-align: {"right" if column.number else "left"}"'


def _html_cell(cell: str, column: Column) -> str:
    text = _html(cell).replace("    ", "&emsp;")
    return f"<td{_alignment_attribute(column)}>{f'<code>{text}</code>' if column.code and text else text}</td>"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|$#&~])", r"\\\1", sanitize(text))


def _markdown_table(title: str, table: TextTable) -> str:
    head = "| " + " | ".join(_markdown(column.title) for column in table.columns) + " |"
    rule = "|" + "|".join("---:" if column.number else "---" for column in table.columns) + "|"
    rows = ["| " + " | ".join(_render_cells(row, table, _markdown_cell)) + " |" for row in table.rows]
    return (f"{_markdown(title)}\n\n" if title else "") + "\n".join([head, rule, *rows])


def _markdown_cell(cell: str, column: Column) -> str:
    cell = cell.replace("\n", " ")  # a row is a line
    if column.code and cell:
        return "`" + sanitize(cell).replace("`", "'").replace("|", "\\|") + "`"
    return _markdown(cell).replace("    ", "&emsp;")


def _latex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in sanitize(text))


def _latex_table(title: str, table: TextTable) -> str:
    spec = "".join("r" if column.number else "l" for column in table.columns)
    rows = [" & ".join(_render_cells(row, table, _latex_cell)) for row in table.rows]
    if table.total:
        rows[-1] = "\\midrule\n" + rows[-1]
    head = " & ".join(_latex(column.title) for column in table.columns)
    lines = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", rf"{head} \\", r"\midrule"]
    lines += [rf"{row} \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return (f"{_latex(title)}\n\n" if title else "") + "\n".join(lines)


def _latex_cell(cell: str, column: Column) -> str:
    text = _latex(cell).replace("    ", r"\quad{}")
    return rf"\texttt{{{text}}}" if column.code and text else text
