"""The log that a test plays on, in each of its forms."""

from .harness import make_log as make_log
