"""Comparisons of runs made by hand, and of studies."""

from cnnlab.reports.comparison import view as view
