"""Interferometers whose truth is known: strain and auxiliary channels, glitches and what caused them.

`simulate` tells the story, `story` plans it, `model` says what an interferometer is made of, `playing` makes its
samples of `noise`, `motion` and `waveforms`, `files` writes them down as HDF5,
`windows` cuts them into the windows that judges see.
"""
