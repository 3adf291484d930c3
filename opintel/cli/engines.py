"""Where a backfill judges: in this process, or in Spark, which starts when the first day is to be judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opintel.site.errors import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from opintel.backfill.chain import Engine
    from opintel.backfill.stages import Job
    from opintel.streams.archive.reader import Archive

    MakeEngine = Callable[[Job, Archive], Engine]


def in_process(job: Job, archive: Archive) -> Engine:
    """Without Spark."""
    from opintel.backfill.local import InProcess

    return InProcess(job, archive)


@contextmanager
def in_spark(stream: str, master: str | None) -> Iterator[MakeEngine]:
    """Makes engines over one Spark session, which stops in the end. `master`: None for what spark-submit says, else
    this machine. They raise UserError where Spark cannot be had.
    """
    from opintel.backfill.spark import InSpark

    started: list[SparkSession] = []

    def spark() -> SparkSession:
        if not started:
            started.append(_started(stream, master))
        return started[0]

    try:
        yield lambda job, archive: InSpark(spark, job, archive)
    finally:
        for one in started:
            one.stop()


def _started(stream: str, master: str | None) -> SparkSession:
    from opintel.backfill.spark import session
    from opintel.extras import install

    if master is None and "PYSPARK_GATEWAY_PORT" not in os.environ:  # which spark-submit sets
        master = "local[*]"
    try:
        return session(master, f"opintel backfill {stream}")
    except ImportError as error:
        raise UserError(f"a backfill in Spark needs the extra spark: {install('spark')}; or use --local") from error
    except RuntimeError as error:
        raise UserError(f"{error} Or use --local") from error
