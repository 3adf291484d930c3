"""river's anomaly detectors in a health stream, by name in its YAML; the extra `river`.

* `plugged`: the judge that gives each series of the named metrics a model of its own
* `plain`: a model made from settings, saved as plain data, and restored without pickle

Nothing here imports river before settings name one of its models, so a build without the extra judges everything else;
a site whose settings do name one is answered with the line that installs it.
"""
