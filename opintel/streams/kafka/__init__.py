"""Apache Kafka as the log and as a source: settings, bounded reading, group membership, topics.

Parts of kafka-python that it does not document, and why they are used; so `pyproject.toml` holds it below 3.1, and a
test asks the installed one for each of them:

- `kafka.net.manager:KafkaConnectionManager` `.send .call_soon .wait_for .close .cluster .bootstrapped`
  `.bootstrap_async`: connections (TLS, SASL, reconnecting) for fetches of our own, bounded and by topic id (`fetcher`);
  `._conns`: whether any broker answers; `._auth_failures`: a refusal is kept for ever otherwise; `._build_transport`:
  to put our transport in place.
- `kafka.net.selector:NetworkSelector` `.start .stop .close .call_soon_threadsafe .sleep`: the connections' thread;
  `._io_thread`: whether it has ended, so that `close` may be called.
- `kafka.net.transport:KafkaTCPTransport` `._sock ._sock_recv`: receives in pieces of 256 KiB instead of 4.
- `kafka.protocol.consumer:FetchRequest` `.FetchTopic`: the fetch.
- `kafka.protocol.consumer:ListOffsetsRequest` `.ListOffsetsTopic`: where a partition begins and ends.
- `kafka.protocol.metadata:MetadataRequest` `.MetadataRequestTopic`: topics' ids.
- `kafka.coordinator.assignors.cooperative_sticky:CooperativeStickyAssignor` `.name`: partitions move one by one.
- `kafka:KafkaProducer` `._sender`: `force_close`, so that nothing arrives after what is appended again.
"""
