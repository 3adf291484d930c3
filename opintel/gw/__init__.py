"""Gravitational-wave interferometers: strain and auxiliary channels become triggers, and witnesses of what caused them.

The stream:
* `pipeline`: its two stages, on one page
* `samples`: the rows: pieces of a channel, and of a flag of the detector's state
* `wire`: a second of channels as a message
* `files`: messages of the files of the field
* `channels`: stage 1: each channel's samples to triggers, spectra and features
* `records`: what stage 1 says of a channel in a window
* `judging`: stage 2: what is said of an interferometer
* `naming`, `gps`: what subjects and times are called; GPS time and UTC
* `simulated`: interferometers whose truth is known

Triggers:
* `tiling`: the Q-transform of many channels: energies of tiles of one time, frequency and Q
* `conditioning`: which samples are there, brought to a size of about 1
* `spectrum`: the running spectrum of each channel, robust to glitches, and the RMS in bands
* `whitening`: a short filter, and what is sound behind it
* `clusters`: loud tiles of one event become one trigger, its peak interpolated
* `search`: loud tiles in whitened data
* `engine`: all of these for one window of many channels, with state that a stream carries
* `triggers`: the engine over an array of samples

Data quality:
* `segments`: when a flag was active and when it is known, as whole nanoseconds of GPS
* `exports`: triggers and segments in the formats of the field's tools
* `trigger_tables`: what is read of a table of triggers
* `safety`: which channels may be witnesses, by their names
* `injection_safety`: whether a channel answers signals that were injected into the strain alone
* `strain_copies`: copies of h(t) with no telling name, by their coherence over the whole band
* `vetoes`: hveto's rounds: which auxiliary channels witness the glitches of the strain
* `glitch_probability`: how probable a glitch is in a second, from what auxiliary channels saw
* `training_seconds`: seconds from which a model of glitches is learned
* `glitch_class`: what kind of glitch a trigger is, with "unknown" of a stated error

Files, for people:
* `file_triggers`: triggers of what files hold
* `event_report`: a data-quality report for the time of an event
"""
