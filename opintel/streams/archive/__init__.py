"""The archive of a log: every record of its raw topics, controls and findings, with its position and when it was
appended, in Parquet on any fsspec URL.

* `layout`: the names of the files, which are all that an archive knows of itself
* `tables`: a file's content
* `store`: files in a place: listed, written whole or not at all, read
* `cutting`: where a partition is cut into files, and of which day they are
* `archiver`: writes a partition's files
* `copies`: what controls name, kept beside the records
* `reader`: a partition's records in order
* `found`: whether what is given is an archive, or files of others
* `feed`: an archive as a stream's source
* `waiting`: what is not archived yet
"""
