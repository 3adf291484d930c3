"""Which of an incident's alerts gives it its title: the worst that alarms now. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from opintel.alerts.incidents import LeadRank

Titled = tuple[str, LeadRank]
CLEARLY = 1.0
"""Decades of p-value."""


def next_lead(leading: str, now: Titled, offers: Mapping[str, Titled]) -> tuple[str, Titled]:
    """The alert that titles an incident after a window, by its fingerprint, and the title.

    `leading` does so `now` and alarms still; `offers`: alert → the title that this window's findings would give.
    Another alert takes the lead where it is worse, or as bad and clearly more surprising, so that many alerts that are
    about as surprising do not take turns. Within one alert the best of its findings titles.
    """
    best = min(now, offers.get(leading, now), key=_rank)
    for other, offer in sorted(offers.items(), key=lambda item: _rank(item[1])):
        if other != leading and _takes_the_lead(_rank(offer), _rank(best)):
            return other, offer
    return leading, best


def _takes_the_lead(new: LeadRank, old: LeadRank) -> bool:
    return new[:2] < old[:2] or (new[:2] == old[:2] and new[2] <= old[2] - CLEARLY)


def _rank(titled: Titled) -> LeadRank:
    return titled[1]
