"""Jinja templates of HTML pages."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cnnlab.render.formatting import format_count, sanitize
from cnnlab.render.palette import style_sheet


@cache
def page_templates(package: str) -> Environment:
    """Return the environment of a package's templates: values are escaped, and an undefined name is an error.

    Every template has `colours`, the style sheet of the palette, and the filter `count`.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: sanitize(value) if type(value) is str else value,
    )
    environment.filters["count"] = format_count
    environment.globals["colours"] = Markup(style_sheet())
    return environment
