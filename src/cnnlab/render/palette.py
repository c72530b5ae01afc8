"""The light and dark colours of pages, plots and drawings, as CSS variables."""

from __future__ import annotations

# Blue, vermillion and green of M. Okabe and K. Ito: Color universal design, 2008; lighter on a dark page.
LIGHT = {
    "paper": "#ffffff",
    "panel": "#f6f8fa",
    "ink": "#1f2429",
    "muted": "#5d6670",
    "line": "#dde2e7",
    "train": "#0072b2",
    "validation": "#d55e00",
    "test": "#009e73",
    "other": "#8757a8",
    "on-dark": "#ffffff",
    "bad": "#b3261e",
    "notice": "#fff6e0",
    "shade": "#00000026",
}
DARK = {
    "paper": "#14171b",
    "panel": "#1c2126",
    "ink": "#e6e9ec",
    "muted": "#9ba5af",
    "line": "#2e353c",
    "train": "#56a8e0",
    "validation": "#f0894a",
    "test": "#35c79a",
    "other": "#c49be4",
    "on-dark": "#ffffff",
    "bad": "#ff8a80",
    "notice": "#2b2413",
    "shade": "#000000b0",
}
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif'
MONO = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'


def css_variable(name: str) -> str:
    """The CSS of a colour: the page's variable, with the light colour as the fallback.

    >>> css_variable("ink")
    'var(--ink, #1f2429)'
    """
    return f"var(--{name}, {LIGHT[name]})"


def style_sheet(selector: str = ":root") -> str:
    """The CSS rules that set the variables, by the preferred colour scheme."""
    light, dark = (" ".join(f"--{name}: {value};" for name, value in palette.items()) for palette in (LIGHT, DARK))
    fonts = f"--sans: {SANS}; --mono: {MONO};"
    return (
        f"{selector} {{ color-scheme: light dark; {light} {fonts} }}\n"
        f"@media (prefers-color-scheme: dark) {{ {selector} {{ {dark} }} }}"
    )
