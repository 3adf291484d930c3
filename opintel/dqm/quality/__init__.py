"""Stage 2: a subsystem's lumisection as a whole.

`judge` decides; `occupancy`: is an empty histogram dead; `status`: of what state is the subsystem; `findings`: its
words. `certify`: golden and defect JSON; `advice`: what a shifter reads beside a finding.
"""
