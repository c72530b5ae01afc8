"""The work on one image file in a pool: decode it into its row of a file, or inspect it. No torch.

Run as `python -m cnnlab.data.decoding.worker TASK` it reads frames (row, length, content) from stdin until it ends and
writes its answers to stdout, one JSON line each, only then: nobody waits for the other.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from cnnlab.data.decoding.images import ImageFault, try_decode, try_inspect
from cnnlab.data.sources.base import ImageSpec

# Row (signed 64 bits) and length of the content (unsigned 64 bits), little-endian.
FRAME_FORMAT = "<qQ"


@dataclass(frozen=True)
class ImageTask:
    """What to do with each image.

    `decode` writes pixels of `image_spec` to `file`, at `start` + row × image size; its reply is a fault, if any.
    `inspect` replies with the image's height, width, channels, format and a hash of its pixels, or a fault.
    """

    kind: Literal["decode", "inspect"]
    image_spec: ImageSpec | None = None
    file: str = ""
    start: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ImageTask:
        fields = json.loads(text)
        return cls(**{**fields, "image_spec": ImageSpec(**fields["image_spec"]) if fields["image_spec"] else None})


@contextmanager
def open_output(task: ImageTask) -> Iterator[IO[bytes] | None]:
    """The file that a task writes to, if it writes."""
    if not task.file:
        yield None
        return
    # Written with write(), not through a memory map: on a full disk that is an error, not the death of the process.
    with Path(task.file).open("r+b") as file:
        yield file


def process_image(task: ImageTask, file: IO[bytes] | None, row: int, content: bytes) -> dict[str, Any] | None:
    """Do the task for one image; the answer, if it has one. `{"fault": [kind, message]}` tells what is wrong."""
    if task.image_spec is None or file is None:
        found = try_inspect(content)
        if isinstance(found, ImageFault):
            return _fault_reply(found)
        header, pixels = found
        return {**asdict(header), "hash": hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()}
    pixels_or_fault = try_decode(content, task.image_spec)
    if isinstance(pixels_or_fault, ImageFault):
        return _fault_reply(pixels_or_fault)
    file.seek(task.start + row * pixels_or_fault.nbytes)
    file.write(pixels_or_fault.tobytes())
    return None


def serve(task: ImageTask, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Do the task for every frame that comes, then write all answers."""
    answers = []
    with open_output(task) as file:
        while len(head := incoming.read(struct.calcsize(FRAME_FORMAT))) == struct.calcsize(FRAME_FORMAT):
            row, length = struct.unpack(FRAME_FORMAT, head)
            reply = process_image(task, file, row, incoming.read(length))
            if reply is not None:
                answers.append([row, reply])
    outgoing.write("".join(json.dumps(reply) + "\n" for reply in answers).encode())
    outgoing.flush()


def _fault_reply(fault: ImageFault) -> dict[str, Any]:
    return {"fault": [fault.kind, fault.message]}


if __name__ == "__main__":
    serve(ImageTask.from_json(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
