"""Codes in error texts and what they mean: HTTP, FTP, XRootD, curl, SRM and errno, read by the words around them.

Sources: HTTP, RFC 9110, RFC 6585 and RFC 4918; FTP replies, RFC 959 and RFC 2228 (53x); `[30xx]`, XErrorCode in
XRootD's protocol specification 5.2; curl, libcurl-errors(3); SRM, the status codes of SRM v2.2 (OGF GFD.129); errno,
those of Linux, which FTS and its clients run on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from opintel.fts.texts.expressions import expression


class Code(NamedTuple):
    """A code of a text: `http`, `507`, `insufficient storage`."""

    kind: str
    value: str
    meaning: str

    def __str__(self) -> str:
        if self.kind == "srm":
            return self.value
        return f"{_NAMES.get(self.kind, self.kind)} {self.value}"


def numbers(text: str) -> Iterator[tuple[str, list[int]]]:
    """(kind, the numbers that the text gives as codes of it), the most telling kind first. Linear time.

    >>> list(numbers("curl error (28): timed out"))
    [('curl', [28]), ('errno', [28])]
    """
    for kind, pattern in _PATTERNS:
        if found := pattern.findall(text):
            yield kind, [int(number) for number in found]


def code(text: str, likely: str = "") -> Code | None:
    """The code that says most, None where none is known; kind `likely` goes first: 500 is a reply of HTTP and of FTP.

    >>> str(code("copy HTTP 507 : Insufficient Storage")), code("Error reported from srm_ifce : 2 [SE][Ls]").meaning
    ('HTTP 507', 'no such file or directory')
    """
    if (status := _STATUS.search(text)) is not None and (meaning := _MEANINGS.get(("srm", status.group(1)))):
        return Code("srm", status.group(1), meaning)
    for kind, found in sorted(numbers(text), key=lambda item: item[0] != likely):
        for number in reversed(found) if kind == "xrootd" else found:  # its servers pass on what another one said
            if meaning := _MEANINGS.get((kind, str(number))):
                return Code(kind, str(number), meaning)
    return None


def errno(value: str) -> Code | None:
    """The code of a record's field `t_error_code`, which is an errno; None where it says nothing.

    >>> errno("110"), errno("0")
    (Code(kind='errno', value='110', meaning='connection timed out'), None)
    """
    meaning = _MEANINGS.get(("errno", value.strip()))
    return None if meaning is None else Code("errno", value.strip(), meaning)


_NAMES: Final = {"http": "HTTP", "ftp": "FTP", "xrootd": "XRootD"}
_SAYS: Final = {
    "curl": r"curl[a-z_ ]*(?:error|code)?[ :=(#]*\b([0-9]{1,2})\b",
    "xrootd": r"\[(3[0-9]{3})\]",
    "http": r"(?:http(?:/[0-9.]+)?|status|got|returned|response|answer(?:ed)?|after|error|code|"
    r"(?:put|get|head|copy|delete|mkcol|propfind|move)(?: failed)?)[ :=(#]*(?:code)?[ :=(#]*\b([1-5][0-9]{2})\b",
    "ftp": r"(?:^|server responded with an error|error|gridftp|reply|:)[ :]*\b([1-5][0-9]{2})\b",
    "errno": r"(?:errno|error|srm_ifce|code|transfer|source|destination|staging|archiving)[ :=(#]*\[?([0-9]{1,3})\b",
}
"""How a text gives a code of each kind, the most telling first."""
_PATTERNS: Final = [(kind, expression("(?i)" + pattern)) for kind, pattern in _SAYS.items()]
_STATUS: Final = expression(r"\[(SRM_[A-Z_]+)\]")

# A line is a kind, a code and its meaning.
_TABLE: Final = """
http 400 bad request
http 401 unauthorised: no credential, or one that is not accepted
http 403 forbidden
http 404 not found
http 405 method not allowed
http 408 request timed out
http 409 conflict: a directory above is missing, or the file is being written
http 410 gone
http 411 length required
http 412 precondition failed: the file exists, or has changed
http 413 content too large
http 416 range not satisfiable
http 423 locked
http 429 too many requests
http 499 the client closed the request
http 500 internal server error
http 501 not implemented
http 502 bad gateway
http 503 service unavailable
http 504 gateway timed out
http 507 insufficient storage
http 508 loop detected
ftp 421 service not available, or it timed out
ftp 425 no data connection
ftp 426 data connection closed, transfer aborted
ftp 431 no such resource, or an internal error
ftp 450 file unavailable for now
ftp 451 aborted by an error of the server
ftp 452 insufficient storage
ftp 500 command failed or not understood
ftp 501 error in the arguments
ftp 502 command not implemented
ftp 504 not implemented for this parameter
ftp 530 not logged in
ftp 533 command protection denied by policy
ftp 534 request denied by policy
ftp 535 security check failed
ftp 550 file unavailable: absent, or no access
ftp 552 storage allocation exceeded
ftp 553 file name not allowed
xrootd 3000 invalid argument
xrootd 3001 argument missing
xrootd 3002 argument too long
xrootd 3003 file locked
xrootd 3004 file not open
xrootd 3005 error of the file system
xrootd 3006 invalid request
xrootd 3007 input or output error
xrootd 3008 no memory
xrootd 3009 no space
xrootd 3010 not authorised
xrootd 3011 not found
xrootd 3012 error of the server
xrootd 3013 not supported
xrootd 3016 is a directory
xrootd 3017 cancelled
xrootd 3018 exists already
xrootd 3019 checksums differ
xrootd 3021 over quota
xrootd 3024 overloaded
xrootd 3025 file system is read-only
xrootd 3026 bad payload
xrootd 3029 no usable replica
xrootd 3030 authentication failed
xrootd 3034 request timed out
xrootd 3035 timer expired
curl 3 malformed URL
curl 5 proxy's name not resolved
curl 6 host's name not resolved
curl 7 no connection
curl 16 error of HTTP/2
curl 18 file ended early
curl 22 HTTP error
curl 28 timed out
curl 35 TLS handshake failed
curl 47 too many redirects
curl 52 empty reply
curl 55 sending failed
curl 56 receiving failed
curl 58 problem with the own certificate
curl 60 peer's certificate not trusted
curl 77 certificates of authorities unreadable
curl 78 remote file not found
curl 92 error in the stream of HTTP/2
errno 1 operation not permitted
errno 2 no such file or directory
errno 4 interrupted
errno 5 input or output error
errno 11 resource temporarily unavailable
errno 12 no memory
errno 13 permission denied
errno 16 device or resource busy
errno 17 file exists
errno 20 not a directory
errno 21 is a directory
errno 22 invalid argument
errno 24 too many open files
errno 27 file too large
errno 28 no space left
errno 30 file system is read-only
errno 32 broken pipe
errno 38 not implemented
errno 39 directory not empty
errno 62 timer expired
errno 70 communication error on send
errno 71 protocol error
errno 74 bad message
errno 93 protocol not supported
errno 95 operation not supported
errno 98 address in use
errno 100 network down
errno 101 network unreachable
errno 103 connection aborted
errno 104 connection reset by peer
errno 107 not connected
errno 110 connection timed out
errno 111 connection refused
errno 112 host down
errno 113 no route to host
errno 121 remote input or output error
errno 122 over quota
errno 125 cancelled
srm SRM_FAILURE the request failed
srm SRM_AUTHENTICATION_FAILURE authentication failed
srm SRM_AUTHORIZATION_FAILURE not authorised
srm SRM_INVALID_REQUEST invalid request
srm SRM_INVALID_PATH path not found or not valid
srm SRM_FILE_LIFETIME_EXPIRED file's lifetime expired
srm SRM_SPACE_LIFETIME_EXPIRED space's lifetime expired
srm SRM_EXCEED_ALLOCATION more than the space holds
srm SRM_NO_USER_SPACE no space for this user
srm SRM_NO_FREE_SPACE no free space
srm SRM_DUPLICATION_ERROR exists already
srm SRM_NON_EMPTY_DIRECTORY directory not empty
srm SRM_INTERNAL_ERROR internal error, for now
srm SRM_FATAL_INTERNAL_ERROR internal error
srm SRM_NOT_SUPPORTED not supported
srm SRM_ABORTED aborted
srm SRM_REQUEST_TIMED_OUT request timed out
srm SRM_FILE_BUSY file busy
srm SRM_FILE_LOST file lost
srm SRM_FILE_UNAVAILABLE file not online, or its disk is down
"""
_MEANINGS: Final[dict[tuple[str, str], str]] = {
    (kind, value): meaning for kind, value, meaning in (line.split(" ", 2) for line in _TABLE.strip().splitlines())
}
