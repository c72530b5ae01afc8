"""Draw pictures of docs/pictures anew; the pages need Chromium.

python docs/pictures.py                       # what needs no run: terminals, and drawings of LeNet
python docs/pictures.py RUN                   # and the report of a run, light and dark
python docs/pictures.py RUN STUDY_FOLDER…     # and the reports of studies
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
LENET = "recipes/lenet.toml"
# Rich's own format names fonts on a server.
NO_REMOTE_FONT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
MISTAKES = """\
[data]
source = "cifar10"
augment = ["flop(0.5)"]

[model]
layers = ["con(32, 5)", "flatten", "dense(classes)"]

[train]
epochs = "ten"
"""


def cnnlab(*arguments: str, width: int = 128) -> subprocess.CompletedProcess[str]:
    """Run a command as in a terminal of this width."""
    environment = {**os.environ, "COLUMNS": str(width), "FORCE_COLOR": "1", "CNNLAB_OFFLINE": "1"}
    command = [sys.executable, "-m", "cnnlab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def draw_terminal(name: str, command: str, output: str, width: int = 128) -> None:
    """Draw a terminal with a command and its output as SVG."""
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(f"$ {command}", markup=False, highlight=False)
    console.print(Text.from_ansi(f"{output.rstrip()}\n"))
    console.save_svg(str(PICTURES / name), title="cnnlab", unique_id=Path(name).stem, code_format=NO_REMOTE_FONT)


def shoot(page: Path, name: str, width: int, height: int) -> None:
    """Take pictures of the top of a page, light and dark."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("pictures of pages need Chromium: chromium or google-chrome on the PATH")
    for scheme, number in (("dark", 0), ("light", 1)):
        options = [
            *("--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"),
            *(f"--blink-settings=preferredColorScheme={number}", f"--screenshot={PICTURES / f'{name}-{scheme}.png'}"),
        ]
        subprocess.run([browser, *options, page.resolve().as_uri()], capture_output=True, check=True)


def main(run: str = "", *studies: str) -> None:
    """Draw what can be drawn of a run and of studies, and what needs neither."""
    draw_terminal("describe.svg", f"cnnlab describe {LENET}", cnnlab("describe", LENET).stdout)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.toml").write_text(MISTAKES)
        mistakes = cnnlab("describe", f"{folder}/mine.toml", width=100).stderr.replace(f"{folder}/", "")
    draw_terminal("mistakes.svg", "cnnlab describe mine.toml", mistakes, width=100)
    for name, arguments in {
        "architecture": ("describe", LENET),
        "receptive": ("theory", "receptive", LENET, "--layer", "maxpool3", "--node", "2,2"),
    }.items():
        (PICTURES / f"{name}.svg").write_text(cnnlab(*arguments, "--format", "svg").stdout, encoding="utf-8")
    cnnlab("theory", "translate", LENET, "-o", str(PICTURES / "translate.svg"))
    if run:
        cnnlab("report", run)
        shoot(Path(run) / "report.html", "report", 1160, 1300)
    for study in studies:
        cnnlab("report", study)
        shoot(Path(study) / "report.html", f"study-{Path(study).name}", 1100, 2300)


if __name__ == "__main__":
    os.chdir(HERE.parent)
    main(*sys.argv[1:])
