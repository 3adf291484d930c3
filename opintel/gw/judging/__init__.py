"""Stage 2 of GW: what is said of an interferometer, window by window.

* `interferometer`: a window as the judges see it, and when the interferometer was in science mode
* `strain_triggers`, `lock`, `glitch_rate`, `inspiral_range`, `witnesses`, `channels`, `mains`, `observing`: the judges
* `hearing`: what is heard in some science time, ready to be ranked
* `copies`: channels that hold the strain, whatever they are called
* `activity`, `flags`: what safe channels saw second by second, how probable a glitch was then, and what that flags
* `line_history`: lines of the strain against their own past
* `picture_pairs`: Q-scans of a glitch and of its witness
"""
