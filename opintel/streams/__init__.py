"""The streaming path: the log, records, windows, checkpoints, the worker and the one way in."""
