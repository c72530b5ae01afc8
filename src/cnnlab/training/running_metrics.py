"""Running loss and accuracy, kept on the device."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from cnnlab.distributed import ProcessGroup
from cnnlab.records import StepMeans

# A device that computes ahead of the host is read so often, for progress.
POLL_S = 0.5


class RunningMetrics:
    """Sums of loss and correct predictions on the device, which the host seldom reads, since it waits for them."""

    def __init__(self, device: torch.device) -> None:
        self.images = 0
        self.totals = torch.zeros(2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.next_poll = time.monotonic() + (POLL_S if device.type != "cpu" else 0.0)

    def update(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Add images.

        Args:
            loss: the sum over these images.
        """
        hits = (outputs.argmax(dim=1) == labels).sum()
        self.totals += torch.stack([loss.to(self.totals), hits.to(self.totals)])
        self.images += len(labels)

    def poll(self) -> StepMeans | None:
        """Return the means so far; None before the first image, and between the seconds in which a device is read."""
        now = time.monotonic()
        if not self.images or now < self.next_poll:  # without images: the main process has counted undivided batches
            return None
        if self.totals.device.type != "cpu":
            self.next_poll = now + POLL_S
        return self._step_means(self.totals.tolist(), self.images)

    def compute(self, process_group: ProcessGroup) -> StepMeans:
        """Return the means of all steps and all processes; waits for the device."""
        counted = self.totals.new_tensor([self.images])
        *totals, images = process_group.all_reduce(torch.cat([self.totals, counted])).tolist()
        return self._step_means(totals, int(images))

    @staticmethod
    def _step_means(totals: list[float], images: int) -> StepMeans:
        loss, hits = totals
        return StepMeans(images=images, loss=loss / images, accuracy=hits / images)
