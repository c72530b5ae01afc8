"""Documents of formulas, tables, notes and figures, for a terminal, HTML, Markdown and LaTeX. No torch."""
