"""Error messages grouped by their form: the miner, what it merges, and how it is scored against labelled files."""

from opintel.fts.templates.miner import TemplateMiner

__all__ = ["TemplateMiner"]
