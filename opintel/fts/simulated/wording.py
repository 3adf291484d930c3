"""What simulated transfers say when they fail: wordings in the manner of GridFTP, SRM, XRootD and HTTPS clients.

`simulate` draws a `Wording` by cause and protocol and fills in its variable parts. The texts are our own; codes, scopes
and phases go together as FTS reports them.
"""

from __future__ import annotations

from typing import NamedTuple

CATEGORIES = {
    1: "OPERATION_NOT_PERMITTED",
    2: "NO_SUCH_FILE_OR_DIRECTORY",
    5: "INPUT/OUTPUT_ERROR",
    11: "RESOURCE_TEMPORARILY_UNAVAILABLE",
    13: "PERMISSION_DENIED",
    16: "DEVICE_OR_RESOURCE_BUSY",
    17: "FILE_EXISTS",
    28: "NO_SPACE_LEFT_ON_DEVICE",
    70: "COMMUNICATION_ERROR_ON_SEND",
    101: "NETWORK_IS_UNREACHABLE",
    104: "CONNECTION_RESET_BY_PEER",
    110: "CONNECTION_TIMED_OUT",
    111: "CONNECTION_REFUSED",
    122: "DISK_QUOTA_EXCEEDED",
    125: "OPERATION_CANCELED",
}
"""`tr_error_category`: strerror(errno) in capitals, blanks as underscores."""


class Wording(NamedTuple):
    """One way to fail; `text` has the places of `PLACES` in braces."""

    text: str
    code: int
    """errno, `t_error_code`."""
    scope: str
    """`tr_error_scope`: SOURCE, DESTINATION, TRANSFER; SIDE stands for the side that is at fault."""
    phase: str
    """`t_failure_phase`."""
    recoverable: bool
    """Whether FTS tries again."""


PLACES = (
    "host",
    "port",
    "ipv4",
    "ipv6",
    "path",
    "url",
    "size",
    "number",
    "short",
    "door",
    "sum_a",
    "sum_b",
    "user",
    "vo",
)


def choices(cause: str, protocol: str) -> tuple[Wording, ...]:
    """The wordings of a cause (a section below) that fit a protocol; never empty."""
    return _WORDINGS[cause, protocol]


# Columns: who says it, errno, scope, phase, whether FTS tries again, what it says. A section is a cause.
_TABLE = r"""
[down]
ftp  111 SIDE        prepare again gridftp control channel to {host}:{port} not opened: System error in connect: \
Connection refused
ftp  110 SIDE        prepare again gridftp control channel to [{ipv6}]:{port} not opened: System error in connect: \
Connection timed out
srm  111 SIDE        prepare again srm client: httpg://{host}:{port}/srm/managerv2 gives no answer: Connection refused
root 111 SIDE        prepare again xrootd: [FATAL] login to {host}:{port} impossible, socket error: Connection refused
root 110 SIDE        prepare again xrootd: [ERROR] stat of {path} expired, no stream to {ipv4}:{port}
web  111 SIDE        prepare again HTTP client: no connection to {host}:{port} after {short} ms: Connection refused
web  111 SIDE        prepare again HTTP client: HEAD {url} failed after 3 tries: Connection refused ({ipv4}:{port})
[cut]
ftp  101 TRANSFER    move    again gridftp data channel to [{ipv6}]:{door} not established: Network is unreachable
ftp  110 TRANSFER    move    again gridftp: 425 no data connection to {ipv4}:{door}: Connection timed out
root 101 TRANSFER    move    again xrootd third party copy: no way to {host}:{port}: Network is unreachable
root 110 TRANSFER    move    again xrootd third party copy: open at source {host} expired after {short} s
web  101 TRANSFER    move    again HTTP third party copy: pull of {url} failed: [{ipv6}]:{port}: Network is unreachable
web  110 TRANSFER    move    again HTTP third party copy: connect to {ipv4}:{port} given up after {short} s: \
Connection timed out
[credentials]
ftp   13 SIDE        prepare again gridftp: 530 login to {host} refused: GSS handshake: certificate \
/DC=example/DC=grid/OU=hosts/CN={host} has expired
srm   13 SIDE        prepare again srm client: {host}:{port}: SSL handshake failed: peer certificate has expired
root  13 SIDE        prepare again xrootd: [FATAL] authentication with {host}:{port} failed: host certificate expired
web   13 SIDE        prepare again HTTP client: TLS handshake with {host}:{port} failed: certificate verify failed: \
certificate has expired
web   13 SIDE        prepare again HTTP client: {url}: peer not authenticated: certificate has expired
[proxy]
any   13 SIDE        prepare again credential of {vo} for {host}:{port} not valid: proxy certificate has expired
web   13 SIDE        prepare again HTTP client: {url}: 401 Unauthorized: token of {vo} has expired
[authority]
any   13 SIDE        prepare again handshake with {host}:{port} failed: certificate verify failed: \
revocation list of the authority has expired
web   13 SIDE        prepare again HTTP client: TLS handshake with [{ipv6}]:{port} failed: certificate verify failed: \
authority has expired
[trouble]
any    5 TRANSFER    prepare again internal error: transfer worker did not start: cannot reach the job database
any    5 TRANSFER    prepare again internal error: worker of request {number} was lost before it reported
[full]
ftp   28 DESTINATION move    again gridftp: 452 write of {path} refused: no space left in pool group {vo}-disk, \
{size} bytes requested
srm   28 DESTINATION prepare again SRM prepareToPut: SRM_NO_FREE_SPACE: space token {number} cannot take {size} bytes
root  28 DESTINATION move    again xrootd: [ERROR] server answered [3009] cannot create {path}: No space left on device
web   28 DESTINATION move    again HTTP third party copy: destination answered 507 Insufficient Storage for {path}
web   28 DESTINATION move    again HTTP third party copy: stopped after {number} bytes: no space left on device
[checksum]
any    5 DESTINATION finish  again DESTINATION checksum differs: expected adler32 {sum_a}, storage says {sum_b}
any    5 DESTINATION finish  again checksum mismatch after transfer of {path}: source {sum_a} destination {sum_b}
[slow]
any  110 TRANSFER    move    again transfer timed out: {number} of {size} bytes after {short} s
ftp  110 TRANSFER    move    again gridftp: no performance marker for {short} s, transfer cancelled
root 110 TRANSFER    move    again xrootd third party copy: expired after {short} s while reading from {host}
web  110 TRANSFER    move    again HTTP third party copy: rate below limit, stalled for {short} s, aborted
[usual]
ftp    2 SOURCE      prepare never gridftp: 550 {path}: no such file or directory
ftp   70 TRANSFER    move    again gridftp: 451 pool door on {host} closed the data channel: ClosedChannelException
ftp   16 SIDE        prepare again gridftp: 421 too many connections at {host}, try later
ftp  104 TRANSFER    move    again gridftp: end of file on control channel to {ipv4}:{port}
ftp   13 DESTINATION move    never gridftp: 500 open for writing failed: permission denied on /{vo}/user/{user}/
srm   11 SOURCE      prepare again SRM prepareToGet: SRM_FILE_UNAVAILABLE: {path} not staged in time, request {number}
srm    2 DESTINATION finish  again SRM putDone: SRM_INVALID_PATH: request {number} does not hold {path}
srm   16 SIDE        prepare again SRM ls: SRM_INTERNAL_ERROR: name space of {host} busy, {short} requests queued
root   2 SOURCE      prepare never xrootd: [ERROR] server answered [3011] {path}: no such file or directory
root  13 DESTINATION move    never xrootd: [ERROR] server answered [3010] writing of {path} not allowed \
(CN={user},OU=people,DC=grid,DC=example)
root   1 SOURCE      prepare never xrootd third party copy: {host}:{port} does not offer delegation
root 104 TRANSFER    move    again xrootd: [ERROR] socket to {ipv4}:{port} closed by peer: Connection reset by peer
web    2 SOURCE      prepare never HTTP client: {url}: 404 Not Found
web   13 DESTINATION prepare never HTTP client: {url}: 403 Forbidden for user.{user}
web   11 SIDE        move    again HTTP third party copy: 503 Service Unavailable from {host}, retry after {short} s
web    5 TRANSFER    move    again HTTP third party copy: status 500: unexpected end of stream after {number} bytes
web  104 TRANSFER    move    again HTTP third party copy: connection to [{ipv6}]:{port} reset by peer
web   13 DESTINATION prepare again HTTP client: token for {host} rejected: 401 Unauthorized: no storage.modify for \
/home/{user}/scope
any   17 DESTINATION prepare never destination file exists and overwrite is not enabled
any    5 SOURCE      prepare never source size differs: catalogue {size}, storage {number}
any    5 SOURCE      prepare never SOURCE checksum differs: user gave {sum_a}, storage says {sum_b}
any  122 DESTINATION prepare never quota of {vo} exceeded by {size} bytes in {path}
any  110 TRANSFER    move    again transfer timed out: {number} of {size} bytes after {short} s
[abort]
any  125 TRANSFER    move    never operation canceled by the client
"""

QUEUE_REASONS = (
    "file stayed in the queue for longer than {short} hours and was dropped",
    "no free slot for {host} within max time in queue ({short} h), transfer given up",
    "staging of {path} was not finished in time, request {number}",
    "job of user.{user} expired before the transfer was started",
)
"""`reason` of state messages of files that never got a process."""

_SPEAKERS = {
    "ftp": ("gsiftp", "srm"),  # SRM negotiates only, the bytes move by GridFTP
    "srm": ("srm",),
    "root": ("root",),
    "web": ("davs",),
    "any": ("davs", "root", "gsiftp", "srm"),
}
_PHASES = {"prepare": "TRANSFER_PREPARATION", "move": "TRANSFER", "finish": "TRANSFER_FINALIZATION"}


def _parse(table: str) -> dict[tuple[str, str], tuple[Wording, ...]]:
    found: dict[tuple[str, str], list[Wording]] = {}
    cause = ""
    for line in table.replace("\\\n", "").strip().splitlines():
        if line.startswith("["):
            cause = line.strip("[]")
            continue
        speaker, code, scope, phase, again, text = line.split(maxsplit=5)
        wording = Wording(text, int(code), scope, _PHASES[phase], again == "again")
        for protocol in _SPEAKERS[speaker]:
            found.setdefault((cause, protocol), []).append(wording)
    return {key: tuple(wordings) for key, wordings in found.items()}


_WORDINGS = _parse(_TABLE)
