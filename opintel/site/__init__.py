"""What a site is, put together in one place: its YAML, its streams, and the services over one log and one store.

`cli` and `console` stand on it, and so may a notebook or a driver of its own:

* `load.load_site`, `load.read_site`: all YAML of a folder, by way of `yaml_places` (text → data and places) and
  `reading` (→ settings); `settings`: what comes out; `secrets`: what is not in it; `shipped`: the folder that comes
  with opintel
* `domains`: the registry of domains; `imports`: how a registry imports a module; `watched`: the streams with their
  pipelines
* `grid_sites`: which hosts a grid site has, by files that others keep
* `check.require`: whether all this can run; `names`: what `alerts/` names and nothing answers to
* `system.System`: log, store and the services over them; `drain` gives them turns until all is done
* `files_read`: files of others into a log that is thrown away, for `replay` and `backfill`
* `sources`: where a stream's messages come from; `story`: a simulated one; `scores`: what its incidents are worth;
  `sinks`: where tickets go
* `turns`, `alerting`, `delivery`, `services`: what takes turns in a process; `team.team`: all that a process runs
* `clustering`: clusters of error texts, live
* `storage`: the store, with errors for operators
* `parts`: a thread for each of these, so that its fault ends nothing else; `gate`: no step overlaps a look at topics
* `errors`: what an operator can mend
"""
