"""Gravitational-wave interferometers: strain and auxiliary channels become triggers, and witnesses of what caused them.

* `samples`: the rows of the stream: pieces of a channel, and of a flag of the detector's state
* `records`: what stage 1 says of a channel in a window
* `tiling`: the Q-transform of many channels: energies of tiles of one time, frequency and Q
* `conditioning`: which samples are there, brought to a size of about 1
* `spectrum`: the running spectrum of each channel, robust to glitches, and the RMS in bands
* `whitening`: a short filter, and what is sound behind it
* `clusters`: loud tiles of one event become one trigger, its peak interpolated
* `search`: loud tiles in whitened data
* `engine`: all of these for one window of many channels, with state that a stream carries
* `triggers`: the engine over an array of samples
"""
