"""Gravitational-wave interferometers: strain and auxiliary channels become triggers, and witnesses of what caused them.

* `samples`: the rows of the stream: pieces of a channel, and of a flag of the detector's state
* `records`: what stage 1 says of a channel in a window
* `gps`: GPS time and UTC
* `wire`: a second of channels as a message
* `files`: samples in files of the field's formats
* `simulated`: interferometers whose truth is known
"""
