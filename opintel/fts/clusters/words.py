"""The cause in an error text: what is left without placeholders and the wrappers that clients put around it."""

from __future__ import annotations

from opintel.fts.expressions import expression
from opintel.fts.masking import mask

_WRAPPERS = expression(
    r"^(?:SOURCE|DESTINATION|TRANSFER|STAGING|ARCHIVING|GENERAL_FAILURE)\s+"
    r"(?:(?:SRM_[A-Z_]+|CHECKSUM|OVERWRITE|MAKE_PARENT|TRANSFER) )?(?:\[[0-9]+\] )?|"
    r"TRANSFER ERROR: |Copy failed \(3rd \w+\)\. |Last attempt: |^Result |after [0-9]+ attempts?$|"
    r"\[gfalt?_\w+\]|\[SE\]\[\w+\](?:\[\])?|"
    r"globus_ftp_client: (?:the server responded with an error )?|Command failed[. ]*:? ?|General problem: |"
    r"Error on XrdCl::CopyProcess::Run\(\): |(?:\[(?:ERROR|FATAL)\] )?Server responded with an error: |"
    r"[Ee]rror on the (?:turl|surl) \S* ?(?:request|while \w+) ?: |call to srm_ifce error: |"
    r"Error reported from srm_ifce : "
)
_PLACEHOLDER = expression(r"<[A-Za-z]+>[0-9]*")


def cause_words(text: str) -> str:
    """The cause of a raw message or a masked form; the form itself where nothing else is left.

    >>> cause_words("TRANSFER globus_ftp_client: the server responded with an error 452 All pools are full")
    '452 All pools are full'
    """
    form = mask(text)
    left = " ".join(_PLACEHOLDER.sub(" ", _WRAPPERS.sub("", form)).split())
    return left or form
