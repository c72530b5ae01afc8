"""Running loss and accuracy without synchronizing with the device."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.distributed import ProcessGroup
from cnnlab.records import StepMeans


class RunningMetrics:
    """Sums of loss and correct predictions on the device, which the host polls without a synchronization."""

    def __init__(self, device: torch.device) -> None:
        self.images = 0
        self.totals = torch.zeros(2, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.host_totals = torch.zeros(2, dtype=self.totals.dtype, pin_memory=device.type == "cuda")
        self.host_images = 0
        self.pending: tuple[torch.cuda.Event, int] | None = None

    def update(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Add images.

        Args:
            loss: the sum over these images.
        """
        hits = (outputs.argmax(dim=1) == labels).sum()
        self.totals += torch.stack([loss.to(self.totals), hits.to(self.totals)])
        self.images += len(labels)

    def poll(self) -> StepMeans | None:
        """Return the latest means that have reached the host; None before the first."""
        if not self.images:  # the main process has counted undivided batches
            return None
        if self.totals.device.type == "cpu":
            return self._step_means(self.totals.tolist(), self.images)
        if self.totals.device.type != "cuda":
            return None
        if self.pending is None:
            self.host_totals.copy_(self.totals, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self.pending = (event, self.images)
        elif self.pending[0].query():  # type: ignore[no-untyped-call]
            self.host_images, self.pending = self.pending[1], None
            return self._step_means(self.host_totals.tolist(), self.host_images)
        return None

    def compute(self, process_group: ProcessGroup) -> StepMeans:
        """Return the means of all steps and all processes; waits for the device."""
        counted = self.totals.new_tensor([self.images])
        *totals, images = process_group.all_reduce(torch.cat([self.totals, counted])).tolist()
        return self._step_means(totals, int(images))

    @staticmethod
    def _step_means(totals: list[float], images: int) -> StepMeans:
        loss, hits = totals
        return StepMeans(images=images, loss=loss / images, accuracy=hits / images)
