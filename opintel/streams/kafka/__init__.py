"""Apache Kafka as the log and as a source: settings, bounded reading, group membership, topics."""
