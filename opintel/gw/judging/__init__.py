"""Stage 2 of GW: what is said of an interferometer, window by window.

* `interferometer`: a window as the judges see it, and when the interferometer was in science mode
* `strain_triggers`, `lock`, `glitch_rate`, `inspiral_range`, `witnesses`, `channels`: the judges
* `minutes`: what several of them gather before they judge
"""
