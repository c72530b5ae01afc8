"""What answers are written and drawn on: words, tables, sheets with formulas, drawings. No torch."""
