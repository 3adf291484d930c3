"""Error texts grouped by what they mean: an encoder turns their causes into vectors, hdbscan finds the dense groups.

For the clustering service (`opintel.site.clustering`), over the forms that the stream knows. Heavy libraries
(scikit-learn, hdbscan, sentence-transformers) are imported where they are used: the stream works without them.

* `density`: the clusters of some texts; `encoders`, `concepts`, `words`: what they are told apart by
* `registry`: their names, which stay from clustering to clustering; `names`: how one is found
* `memory`: what the service remembers of a scope
"""

from opintel.fts.clusters.density import Clusters, cluster, cluster_beside

__all__ = ["Clusters", "cluster", "cluster_beside"]
