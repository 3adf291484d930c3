"""Archives judged again by the same detectors, with the findings of the live run, id for id.

* `stages`: the two stages over archived records, as pure functions of them: no log, no clock, no file
* `days`: what an archive has to say, day by day, and what each day's outcome depends on
* `chain`: day after day, each from the state of the one before
* `local`: judges a day in this process
* `spark`: judges a day in tasks of Spark
* `daemon`: what Spark forks the processes of its tasks from
* `what_if`: with other settings
* `archived_findings`: what the live run found, as the archive holds it
* `decided`: incidents and tickets that would come of findings, in a store that is thrown away
* `comparing`: findings and incidents of one against those of another
* `report`: what a change of settings or of the build would have meant
* `outcomes`: what each day came to, on any fsspec URL, so that a backfill goes on where it was stopped
* `fitting`: what is learned of an archive, for a site to begin with
* `clusters`: clusters of errors with their names, for a store that a site begins with
* `training`: a row for each second of an interferometer, for a model of glitches to be learned from
* `stored`: the findings in a store of their own
* `files`: files of others as the archive of a log
* `jobs`: a site's stream, as it is judged again
"""
