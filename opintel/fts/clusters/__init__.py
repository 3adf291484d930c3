"""Error texts grouped by what they mean: an encoder turns their causes into vectors, hdbscan finds the dense groups.

For the clustering service and the console, over the templates that the stream knows. Heavy libraries (scikit-learn,
hdbscan, sentence-transformers) are imported where they are used: the stream works without them.
"""

from opintel.fts.clusters.density import Clusters, cluster, cluster_beside

__all__ = ["Clusters", "cluster", "cluster_beside"]
