"""As a program: the process that parses frames for a wire, one after the other, within limits of memory and time.

It starts once, as that takes longer than most frames do. Frames come on its standard input, each behind its length;
for each it writes messages and what is not read, and an end.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from opintel.gw.files.messages import messages
from opintel.gw.wire.frames import ANSWER, DAMAGED, END, LENGTH, MESSAGE, SECONDS
from opintel.streams.connectors.child import MAX_MEMORY, said


def main() -> None:
    """Serves until its input ends."""
    parsing = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = int(usage.ru_utime + usage.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, resource.RLIM_INFINITY))
        # a file in memory, as gwframe reads a path, and would parse bytes again for each channel
        with open(os.memfd_create("frame"), "w+b") as file:
            file.write(source.read(length))
            file.flush()
            try:
                for one in messages(file, parsing):
                    body = one.encode() if isinstance(one, str) else one
                    sink.write(ANSWER.pack(DAMAGED if isinstance(one, str) else MESSAGE, len(body)))
                    sink.write(body)
            except Exception as problem:  # whatever a frame makes its parser raise
                body = said(problem).encode()
                sink.write(ANSWER.pack(DAMAGED, len(body)) + body)
        sink.write(ANSWER.pack(END, 0))
        sink.flush()


if __name__ == "__main__":
    main()
