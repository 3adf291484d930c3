"""Texts written to cost much: RE2 stays within its memory and says nothing, and a form is bounded work."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from opintel.fts.causes import codes, facets
from opintel.fts.texts import causes, credentials, masking, personal, rewriting, tokens
from opintel.fts.texts.personal import Pseudonyms

PIECES = {
    "fields": ['"user_dn":"', '"user": "', "\\", "a", '"dn" : "x'],
    "paths": ["/users/", "/home/", "a", "rucio/", "/home-a/", "/dpm/", "b/", "ā"],
    "subjects": ["CN=", "cn ", "=", "a", " ", "cn = ", "emailaddress="],
    "addresses": list("ab.%@-"),
    "scopes": ["user.", "/user.", "a", "_"],
    "numbers": ["1", ".", "-", " ", "+", ",", "500-", "<NUM>", "<HOST>", ":"],
    "dates": ["Mon, ", "Jan ", "<NUM> ", "<TIME> ", "UTC ", "<DN> ", "<HOST>, ", "Checksum", "a"],
    "call stacks": ["[ab_c]", "[a", "_b", "] ", " ", "[a_B_c] "],
    "users": ["user ", "user=", "invalid user ", "password for ", "'", "x", "host=", "Checksum"],
    "characters": [chr(n) for n in range(0x20, 0x3000, 7)],
}


@pytest.mark.parametrize("kind", PIECES)
def test_nothing_is_written_to_stderr(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng, names = random.Random(1), Pseudonyms(b"k")
    for _ in range(20):
        text = "".join(rng.choices(PIECES[kind], k=2048))[:2048]
        names.scrub_record('{"user_dn": "' + text)
        masking.mask(names.scrub(text[:1024]))
    assert capfd.readouterr() == ("", "")


def test_no_expression_is_written_out_a_thousand_times() -> None:
    """RE2 has a budget of memory a program; one of 20,000 instructions fills it with 1 kB of text, again and again."""
    found = chain(
        (pattern for module in (credentials, personal, rewriting, tokens) for pattern in vars(module).values()),
        (pattern for pattern, _ in causes._WRAPPERS),
        (pattern for module in (codes, facets) for pattern in vars(module).values()),
        (pattern for _, pattern in codes._PATTERNS),
        (pattern for _, pattern in [*facets._LAYERS, *facets._SCOPES, *facets._OPERATIONS, *facets._PHASES]),
        (pattern for _, pattern, _ in [*credentials._RULES, *credentials._RULES_IN_ANY_CASE]),
    )
    sizes = {str(p.pattern): p.programsize for p in found if hasattr(p, "programsize")}
    assert len(sizes) > 20
    assert {pattern: size for pattern, size in sizes.items() if size > 4000} == {}


def test_a_long_name_is_replaced_whole() -> None:
    names = Pseudonyms(b"k")
    for text in (f"/home/{'x' * 400}/a", f"user.{'y' * 100}", f"CN={'z' * 400}", f"{'v' * 99}@{'w' * 99}.org"):
        hidden = names.scrub(text)
        assert not any(letter * 5 in hidden for letter in "xyzvw"), text
    assert "x" * 5 not in names.scrub_record('{"user_dn": "' + "x" * 2000)
