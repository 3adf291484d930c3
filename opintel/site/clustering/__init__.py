"""Clusters of error texts, live: the service that makes them, and what operators do to them.

Only processes that cluster or serve operators import this, with SQLAlchemy; the service alone imports scikit-learn and
hdbscan, when it first clusters.

* `service.Clustering`: takes in the hours of errors that the store holds
* `rows`: the memory of a scope as rows of the store
* `actions`: pin, rename, join
"""
