"""Masking of one word of an error text: addresses, paths, names and long numbers become placeholders.

This is the part of `opintel.fts.texts.masking` that needs no context. It scans by hand, in linear time: the texts are
untrusted and this runs for every message, where the call of a regular expression alone would cost more than the whole
word does here.
"""

from __future__ import annotations

import re
from typing import Final

from opintel.fts.texts.credentials import redact
from opintel.fts.texts.expressions import expression

MAX_TOKEN: Final = 120
"""A longer word (after masking) says nothing to a person: it becomes `<BLOB>`."""


class Tokens(dict[str, str]):
    """Masked form by word; remembers at most `size` short words, then starts over (the mapping is pure)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __missing__(self, token: str) -> str:
        masked = mask_token(token)
        if len(masked) > _NO_SECRET:
            masked = mask_token(redact(token))
        if len(token) <= _REMEMBERED:
            if len(self) >= self._size:
                self.clear()
            self[token] = masked
        return masked


_REMEMBERED: Final = 80
_NO_SECRET: Final = 12
"""Characters: no secret leaves fewer when it is masked as a word; with its context it is found later."""


def mask_token(token: str) -> str:
    """A word without white space, masked; numbers of up to four digits stay: only their context tells what they are.

    >>> mask_token("src_url=root://se.example.org:1094//data/f1?x=y"), mask_token("[2001:db8::7f]:20288:")
    ('src_url=<URL>', '[<HOST>]:<NUM>:')
    """
    if not token.isalpha():
        if "=" in token and ("CN=" in token or "DC=" in token):
            core = token.rstrip(_END)
            token = "<DN>" + token[len(core) :]
        elif token[0] == "/" and _DELIMITERS.isdisjoint(token):
            token = "<PATH>" if _PLAIN_PATH.fullmatch(token) else _mask_slashed(token)
        elif "://" in token:
            token = "<URL>" if _PLAIN_URL.fullmatch(token) else _mask_urls(token)
        elif "\\" in token and _WINDOWS_PATH.search(token):
            token = "<PATH>".join(map(_mask_pieces, _WINDOWS_PATH.split(token)))
        elif token[0] == "/" and "?" in token:
            end = _end_of_url(token, 1)
            token = "<PATH>" + _mask_pieces(token[end:])
        else:
            token = _mask_pieces(token)
    return token if len(token) <= MAX_TOKEN else "<BLOB>"


_PSEUDONYM = expression(r"(?:user|uid)-[0-9a-f]{6}")
"""What `opintel.fts.texts.personal` puts in the place of a name."""
_PLAIN_PATH = re.compile(r"/+[A-Za-z_][^/]*/.*[^:.!?]")
_PLAIN_URL = re.compile(r"[A-Za-z0-9+]+://[^\"'<>)\]}|]*[^\"'<>)\]}|.,;:!?]")
"""What nearly all paths and URLs are like; the rest is looked at more closely, with the same result."""
_WINDOWS_PATH = re.compile(r"(?:\b[A-Za-z]:|\\\\[\w.$-]+)\\[^\s\"'<>|,;()\[\]]*")
_END: Final = ":.,;!?)'\""
_DELIMITERS: Final = frozenset("=,;()[]{}\"'`|<>\x00")
_SPLIT: Final = str.maketrans({c: f"\x00{c}\x00" for c in _DELIMITERS} | {"\x00": "\x00"})
_RUNS: Final = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
_URL_END: Final = re.compile(r"[\"'<>)\]}|]")
_SCHEME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+")


def _mask_urls(token: str) -> str:
    out: list[str] = []
    at = 0
    while (middle := token.find("://", at)) >= 0:
        begin = middle
        while begin > at and token[begin - 1] in _SCHEME:
            begin -= 1
        if begin == middle:
            out.append(_mask_pieces(token[at : middle + 3]))
            at = middle + 3
            continue
        end = _end_of_url(token, middle + 3)
        out += _mask_pieces(token[at:begin]), "<URL>"
        at = end
    out.append(_mask_pieces(token[at:]))
    return "".join(out)


def _end_of_url(token: str, start: int) -> int:
    found = _URL_END.search(token, start)
    end = len(token) if found is None else found.start()
    while end > start and token[end - 1] in ".,;:!?":
        end -= 1
    return end


def _mask_pieces(token: str) -> str:
    if not token.isascii():  # where words need no blanks, hosts stand between letters of other scripts
        return "".join([_mask_ascii(run) if run.isascii() else run for run in _RUNS.findall(token)])
    return _mask_ascii(token)


def _mask_ascii(token: str) -> str:
    if _DELIMITERS.isdisjoint(token):
        return _mask_piece(token)
    return "".join([_mask_piece(piece) for piece in token.translate(_SPLIT).split("\x00")])


def _mask_piece(piece: str) -> str:
    if len(piece) < 2 or piece.isalpha():
        return "<HEX>" if len(piece) in _HEX_WORDS and _HEX.issuperset(piece) else piece
    if "/" in piece:
        return _mask_slashed(piece)
    if "user-" in piece or "uid-" in piece:
        piece = _PSEUDONYM.sub("<USER>", piece)
    return _mask_colons(piece) if ":" in piece else _mask_word(piece)


def _mask_slashed(piece: str) -> str:
    core = piece.rstrip(":.!?")
    tail = piece[len(core) :]
    slashes = core.count("/")
    first = core.find("/")
    before, after = core[:first], core[first + 1 :]
    if first < 0:
        return _mask_piece(core) + tail if tail else piece
    if slashes == 1 and (first > 0 or len(core) <= 2 or ":" in core or "." in core):
        if before == "HTTP":
            return piece
        masked = _mask_colons(after)
        if masked.startswith("<HOST>"):  # Java writes addresses as name/1.2.3.4:port
            return masked + tail
        if first > 0 or len(core) <= 2:
            return f"{_mask_colons(before)}/{masked}{tail}"
    if slashes == 2 and _DATE_DIGITS.issuperset(core):
        return "<TIME>" + tail
    if not core.strip("/"):
        return piece
    return (_mask_colons(before) if before.endswith(":") else "") + "<PATH>" + tail


_DATE_DIGITS: Final = frozenset("0123456789/")
_DIGITS: Final = frozenset("0123456789")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HEX_WORDS: Final = (8, 16, 32)
"""Letters of hexadecimal numbers that have no digit, as masks of bits do."""
_ADDRESS: Final = frozenset("0123456789abcdefABCDEF:.")


def _mask_colons(piece: str) -> str:
    core = piece.rstrip(":.!?,")
    tail = piece[len(core) :]
    if ":" not in core:
        return _mask_word(core) + tail
    if not _DIGITS.isdisjoint(core):
        if core[0] in _DIGITS and _TIME.fullmatch(core):
            return "<TIME>" + tail
        if _ADDRESS.issuperset(core) and ("::" in core or core.count(":") >= 4):
            return "<HOST>" + tail
    out: list[str] = []
    parts = core.split(":")
    for at, part in enumerate(parts):
        port = at + 1 < len(parts) and parts[at + 1].isdigit()
        if port and "." in part and is_host(part, with_port=True):
            out.append("<HOST>")
        elif out and out[-1] == "<HOST>" and part.isdigit():
            continue
        else:
            out.append(_mask_word(part))
    return ":".join(out) + tail


_TIME = expression(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_UUID = expression(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_LONG_NUMBER = re.compile(r"[0-9]{5,}")


def _mask_word(word: str) -> str:
    core = word.rstrip(".!?")
    if len(core) < 2 or core.isalpha():
        return word
    tail = word[len(core) :]
    if 0 < core.find("@") < len(core) - 1:
        return "<USER>" + tail
    if core.count(".") >= 2 and is_host(core):
        return "<HOST>" + tail
    if _DIGITS.isdisjoint(core):
        return word
    if core.isdigit():
        return word if len(core) < 5 else "<NUM>" + tail
    if "." in core and core.replace(".", "").lstrip("+-").isdigit():
        return ("<HOST>" if _is_ipv4(core) else "<NUM>") + tail
    if _HEX.issuperset(core[2:] if core[:2] == "0x" else core) and (len(core) >= 6 or core[:2] == "0x"):
        return "<HEX>" + tail
    if len(core) >= 36 and core.count("-") >= 4:
        core = _UUID.sub("<UUID>", core)
    if len(core) == 10 and core[4] == core[7] == "-" and core.replace("-", "").isdigit():
        return "<TIME>" + tail
    return "".join(map(_mask_part, core.translate(_INNER).split("\x00"))) + tail


_INNER: Final = str.maketrans({c: f"\x00{c}\x00" for c in "_-.+#%&*$^~<>@"})


def _mask_part(part: str) -> str:
    if len(part) < 5 or part.isalpha():
        return part
    if part.isdigit():
        return "<NUM>"
    if part[:2] == "0x" and _HEX.issuperset(part[2:]):
        return "<HEX>"
    if len(part) >= 8 and _HEX.issuperset(part):
        return "<HEX>"
    if len(part) >= 12 and sum(c in _DIGITS for c in part) >= 5:
        return "<HEX>"
    return _LONG_NUMBER.sub("<NUM>", part)


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(0 < len(part) <= 3 for part in parts)


_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_DOMAINS: Final = frozenset(
    ("com", "edu", "example", "gov", "info", "int", "internal", "local", "localdomain", "mil", "net", "org", "test")
)
_SOURCE_FILES: Final = frozenset(
    ("cc", "conf", "cpp", "cxx", "hh", "hpp", "java", "js", "log", "php", "pl", "py", "rs", "scala", "sh", "so", "txt")
)


def is_host(text: str, *, with_port: bool = False) -> bool:
    """Whether this looks like a machine's name: its last label a country or a well-known domain, or a port after it."""
    last = text.rpartition(".")[2]
    if with_port:
        likely = 2 <= len(last) <= 10 and last.isalpha() and last not in _SOURCE_FILES
    else:
        likely = (len(last) == 2 and last.isalpha()) or last in _DOMAINS
    return likely and ".." not in text and text[0] not in ".-" and _HOST.issuperset(text.lower())
