"""A network before training: its table and its drawing."""

from cnnlab.reports.architecture import view as view
