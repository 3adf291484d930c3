"""Histograms in files of the field's formats, as monitor elements.

What a file holds is untrusted: another process reads it, within limits of memory and time
(`opintel.streams.connectors.parsed`).

* `names`: the run and lumisection that a name holds
* `found`: what a file holds: elements, and what is not read and why
* `uhi_containers`: UHI in JSON, ZIP and HDF5
* `root_file`: a ROOT file's keys and their bytes
* `root_histograms`: TH1, TH2 and profiles from those bytes
* `root_trees`: what uproot reads: UHI in RNTuples, DQMIO's trees, other versions of a histogram's class
* `root`: a ROOT file
* `nanodqmio`: rows of nanoDQMIO in Parquet
* `reading`: a file of any of these, in the process that reads it
* `messages`: the same as messages of the stream
* `opened`: the same, for who asks that process
* `sides`: the histograms of two places, paired by name
"""

PARSERS = dict.fromkeys((".root", ".json", ".zip", ".h5", ".hdf5", ".parquet"), "opintel.dqm.files.messages:messages")
"""Suffix → parser: the `files` of the pipeline."""
