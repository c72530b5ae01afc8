"""How many image files a second are decoded, by the number of processes.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --files 20000 --side 32

JPEGs of noise, drawn here: 464×464 pixels are about 100 kB. With one process they are decoded where they are read. The
processes' start is counted.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cnnlab.data.decoding import pool
from cnnlab.data.decoding.pool import DecodeTask, ImageItem
from cnnlab.data.sources.base import ImageSpec

DRAWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--side", type=int, default=464, help="height and width of an image in pixels")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    images = [_jpeg(number, given.side) for number in range(DRAWN)]
    total = sum(len(images[row % DRAWN]) for row in range(given.files))
    print(f"{given.files:,} JPEGs of {total / given.files / 1000:,.0f} kB, to 64×64 pixels")
    seconds: dict[int, list[float]] = {workers: [] for workers in given.workers}
    pool.MIN_FILES_FOR_WORKERS = 0
    for _ in range(given.rounds):  # they take turns, so that a machine whose speed drifts slows them alike
        for workers in given.workers:
            seconds[workers].append(_seconds(images, given.files, total, workers))
    for workers, found in seconds.items():
        each = ", ".join(f"{value:.2f}" for value in found)
        print(f"{workers:>2} processes: {given.files / statistics.median(found):,.0f} files/s (seconds: {each})")


def _jpeg(number: int, side: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=60)
    return file.getvalue()


def _seconds(images: list[bytes], files: int, total: int, workers: int) -> float:
    pool.available_cpus = lambda: workers
    form = ImageSpec(3, 64, 64)
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(files * 3 * 64 * 64)
        items = (ImageItem(row, "", images[row % DRAWN]) for row in range(files))
        began = time.perf_counter()
        for _ in pool.run_image_task(DecodeTask(form, Path(file.name), 0), items, files, total):
            pass
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
