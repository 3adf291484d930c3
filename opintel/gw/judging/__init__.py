"""Stage 2 of GW: what is said of an interferometer, window by window.

* `interferometer`: a window as the judges see it, and when the interferometer was in science mode
* `strain_triggers`, `lock`, `glitch_rate`, `inspiral_range`, `witnesses`, `channels`: the judges
* `hearing`: what is heard in some science time, ready to be ranked
* `copies`: channels that hold the strain, whatever they are called
* `picture_pairs`: Q-scans of a glitch and of its witness
"""
