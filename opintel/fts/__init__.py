"""File transfers: the File Transfer Service's records and their error messages, judged by endpoint and link.

* `wire`: messages of all kinds and years become rows
* `transfers`: the rows of the stream
* `files`: which messages are of one file
* `texts`: what an error text says: masks, causes, and what of people and secrets is hidden
* `reducer`: stage 1, by link and window
* `link_windows`: what stage 1 says of a link in a window
* `traffic`: an hour of an FTS in numbers, as a finding carries it
* `cms_rule`: the rule by which CMS operators call links and endpoints good or bad
* `rule_comparison`: that rule beside our findings, and what became of disagreements
* `templates`: error messages grouped by their form
* `causes`: codes and facets of error texts, and families of causes by rules that operators extend
* `clusters`: error texts grouped by what they mean
* `logs`: any log, a line a message, as a stream of its own
* `links`: endpoints and links of one table of counts, without history
* `judging`: stage 2
* `simulated`: a grid with faults whose truth is known
* `naming`: what endpoints and links are called, where people read of them
* `pipeline`: the two stages on one page
"""
