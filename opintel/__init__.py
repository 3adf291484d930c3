"""opintel: operational intelligence for detectors, grids and interferometers.

The map. Rooms are layers: each imports only what stands above it, domains do not import one another.

The contract, and what all share:
* `finding`: the currency: one calibrated statement about one subject in one window
* `evidence`: typed blocks that explain a finding and can be drawn
* `detector`: the contract: reducers, judges, and what a domain declares
* `rows`: rows as columns, from the wire to the closed window
* `columns`: one column of rows (texts, numbers, arrays) and its checked encoding
* `rejects`: what a wire could not take, bounded
* `ids`: natural ids, by which a copy of a row is recognised
* `tables`: what a table is and which of its columns were read
* `arrow_ipc`: Arrow messages from elsewhere, checked before Arrow reads them
* `picture`: histograms and images of evidence, from arrays
* `quantity`: numbers with their units, for people
* `naming`: what a domain's subjects and times are called where people read them
* `simulation`: what the simulators of all domains have in common
* `durations`: durations as a site's YAML writes them
* `sizes`: sizes as a site's YAML writes them
* `paths`: paths as a site's YAML writes them
* `loopback`: whether a host is this machine
* `extras`: how an optional library is installed
* `stats`: calibrated statistics: exact tails, robust fits, groups, FDR, habits

The path of a message:
* `streams`: log, ingest, windows, checkpoints, the two stages, the worker
* `fts`: the domain of file transfers
* `health`: the domain of machines and services
* `dqm`: the domain of data-quality monitoring: a detector's histograms
* `gw`: the domain of interferometers: strain and auxiliary channels
* `alerts`: findings become alerts, incidents and tickets, within a budget of false alarms
* `store`: findings, alerts, incidents and their history in SQL

What puts them together:
* `site`: a site's YAML, its streams, and the services over one log and one store
* `backfill`: archives judged again by the same detectors
* `console`: the web console
* `demo`: the demo, and servers that stand for what a site has outside
* `cli`: the command line, one file a command
"""

__version__ = "0.1.0"
