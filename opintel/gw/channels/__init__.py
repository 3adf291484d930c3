"""Stage 1 of GW: each channel's samples to triggers, spectra and features, window by window.

* `pieces`: rows to arrays, by rate
* `spectra`: the running spectrum of each channel, and the samples of those that still learn theirs
* `reducer`: a closed window
* `features`: fringe frequency, range; what is constant or saturated
* `qscan`: the picture of a trigger
"""
