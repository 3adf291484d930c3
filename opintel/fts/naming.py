"""What endpoints and links are called, where people read of them."""

from __future__ import annotations

from collections.abc import Mapping

from opintel.naming import Naming, in_words

BETWEEN = " → "


def subject_in_words(subject: Mapping[str, str]) -> str:
    """An endpoint or a link in one line.

    >>> subject_in_words({"scope": "fts", "source": "a", "destination": "b"})
    'a → b'
    >>> subject_in_words({"scope": "fts", "endpoint": "a", "role": "both"}), subject_in_words({"endpoint": "a"})
    ('a as source and destination', 'a')
    >>> subject_in_words({"scope": "fts", "vo": "belle"}), subject_in_words({"scope": "fts", "family": "credentials"})
    ('belle in all of fts', 'credentials in all of fts')
    """
    if "source" in subject and "destination" in subject:
        return f"{subject['source']}{BETWEEN}{subject['destination']}"
    if "scope" in subject and ("vo" in subject or subject.keys() == {"scope", "family"}):
        return f"{subject.get('vo') or subject['family']} in all of {subject['scope']}"
    labels = subject.keys() - {"scope"}
    if labels == {"endpoint", "role"}:
        role = "source and destination" if subject["role"] == "both" else subject["role"]
        return f"{subject['endpoint']} as {role}"
    if labels == {"endpoint"}:
        return subject["endpoint"]
    return in_words(subject)


NAMING = Naming(("endpoint", "source", "destination", "vo", "family"), BETWEEN, subject_in_words, across_scopes=True)
