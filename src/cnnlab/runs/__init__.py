"""The run folder, the test-set ledger, and one run from end to end."""
