"""What a site is, put together in one place: its YAML, its streams, and the services over one log and one store.

`cli` and `console` stand on it, and so may a notebook or a driver of its own:

* `config.load_site`: the settings of a folder; `shipped`: those that come with opintel
* `domains.pipeline_of`: the registry of domains
* `system.System`: log, store and the services over them; `drain` gives them turns until all is done
* `sources`: where a stream's messages come from; `story`: a simulated one
* `turns`, `services`: what takes turns in a process; `team.team`: all that a process runs
* `errors.UserError`: what an operator can mend
"""
