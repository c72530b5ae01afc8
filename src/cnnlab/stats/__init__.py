"""Statistics of runs: intervals, tests, multiple testing, power, calibration. No torch."""
