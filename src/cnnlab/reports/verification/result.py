"""What `verify` finds: claims with their verdicts, and recomputed runs. No torch."""

from __future__ import annotations

from cnnlab.records import ClaimRecord
from cnnlab.render.result import Result
from cnnlab.runs.verify.result import RunVerification


class ClaimVerification(Result):
    """The claims of a recipe, a study or runs, judged."""

    subject: str
    claims: tuple[ClaimRecord, ...]
    notes: tuple[str, ...] = ()


class VerifiedRuns(Result):
    """Runs whose figures were computed again."""

    runs: tuple[RunVerification, ...]

    @property
    def all_match(self) -> bool:
        """Whether every figure of every run holds."""
        return all(run.holds for run in self.runs)
