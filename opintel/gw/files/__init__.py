"""Samples in files of the field's formats, as messages of the stream.

What a file holds is untrusted: another process reads it, within limits of memory and time
(`opintel.streams.connectors.parsed`).

* `series`: a channel's samples in a file
* `hdf5`: GWOSC's layout, the auxiliary release's, and series as gwpy writes them
* `gwf`: frames
* `messages`: what a file holds, second by second
"""

PARSERS = dict.fromkeys((".hdf5", ".h5", ".hdf", ".gwf"), "opintel.gw.files.messages:messages")
"""Suffix → parser: the `files` of the pipeline."""
EXTRA, FRAMES = "gw", "gwf"
"""What installs h5py, and gwframe."""
