"""Any log, a line a message: which forms its lines have, and which of them are new.

* `times`: the time at the start of a line
* `wire`: lines of text and records in JSON become rows
* `reducer`: stage 1, the forms of a source in a window
* `judge`: stage 2, forms that were never seen before
* `pipeline`: the two stages on one page
"""
