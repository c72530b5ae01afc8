"""Run folders on disk: records, checkpoints' files, the ledger of test sets, locks."""
