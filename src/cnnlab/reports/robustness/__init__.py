"""Networks under shifts as tables and figures."""

from cnnlab.reports.robustness import view as view
