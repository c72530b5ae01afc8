"""Write the API reference into docs/api: what the package's front door offers, and nothing behind it.

python docs/reference.py
"""

from __future__ import annotations

from pathlib import Path

import pdoc

import cnnlab

if __name__ == "__main__":
    for name in cnnlab.__all__:
        setattr(cnnlab, name, getattr(cnnlab, name))  # loaded lazily, which pdoc does not see
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("cnnlab", output_directory=Path(__file__).parent / "api")
