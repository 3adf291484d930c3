"""Gravitational-wave interferometers: strain and auxiliary channels become triggers, and witnesses of what caused them.

* `samples`: the rows of the stream: pieces of a channel, and of a flag of the detector's state
* `records`: what stage 1 says of a channel in a window
* `segments`: when a flag was active and when it is known, as whole nanoseconds of GPS
* `exports`: triggers and segments in the formats of the field's tools
* `trigger_tables`: what is read of a table of triggers
* `safety`: which channels may be witnesses, by their names
* `injection_safety`: whether a channel answers signals that were injected into the strain alone
* `strain_copies`: copies of h(t) with no telling name, by their coherence over the whole band
* `vetoes`: hveto's rounds: which auxiliary channels witness the glitches of the strain
* `glitch_probability`: how probable a glitch is in a second, from what auxiliary channels saw
* `glitch_class`: what kind of glitch a trigger is, with "unknown" of a stated error
"""
