"""What a person looks at before training loads in a process of its own without torch."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import importlib, json, pkgutil, sys
import cnnlab
names = ["errors", "randomness", "records", "storage.run_folder", "storage.test_ledger"]
for package in ("render", "theory", "stats", "grammar", "architecture", "config", "reports"):
    home = importlib.import_module(f"cnnlab.{package}")
    found = pkgutil.walk_packages(home.__path__, f"cnnlab.{package}.")
    names += [package, *(module.name.removeprefix("cnnlab.") for module in found)]
guilty = []
for name in names:
    importlib.import_module(f"cnnlab.{name}")
    if "torch" in sys.modules:
        guilty.append(name)
        break
print(json.dumps({"loaded": names, "guilty": guilty}))
"""


def test_what_needs_no_torch_loads_none() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert found["guilty"] == []
    assert {
        "errors",
        "theory.output_size",
        "config.recipe",
        "architecture.trace",
        "stats",
        "reports",
    } <= set(found["loaded"])
