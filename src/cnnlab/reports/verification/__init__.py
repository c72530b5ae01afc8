"""Published claims against runs, and runs against their own weights."""

from cnnlab.reports.verification import view as view
