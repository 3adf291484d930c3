"""The log that a test reads and appends to, in each of its forms."""

from contract.harness import make_log as make_log
