"""The domains of this build: a domain is a folder with a `pipeline.py`, and one line here."""

from __future__ import annotations

from opintel.detector import Pipeline
from opintel.simulation import Stories
from opintel.site.errors import UserError
from opintel.site.imports import imported
from opintel.site.yaml_places import did_you_mean

DOMAINS = {
    "dqm": "opintel.dqm.pipeline",
    "fts": "opintel.fts.pipeline",
    "gw": "opintel.gw.pipeline",
    "health": "opintel.health.pipeline",
    "logs": "opintel.fts.logs.pipeline",
}
"""Domain → the module of its `PIPELINE`, imported only when a stream needs it."""


def pipeline_of(domain: str) -> Pipeline:
    """The pipeline of a domain. Raises UserError with the nearest name where there is none, and where its module
    cannot be imported."""
    if domain not in DOMAINS:
        raise UserError(f"no domain {domain!r}{did_you_mean(domain, DOMAINS)}")
    try:
        pipeline: Pipeline = imported(DOMAINS[domain]).PIPELINE
    except ValueError as error:
        raise UserError(str(error)) from error
    return pipeline


def stories_of(domain: str) -> Stories:
    """The stories of a domain's simulator. Raises UserError with the domains that have one."""
    stories = pipeline_of(domain).stories
    if stories is None:
        others = [name for name in DOMAINS if pipeline_of(name).stories is not None]
        raise UserError(f"the domain {domain!r} has no simulator; those that have one: {', '.join(others) or 'none'}")
    return stories()
