"""The tables. Times are ns UTC as BIGINT, structured values are JSON text (exact for 64-bit numbers and floats).

Only plain SQL types are used, so that SQLite and PostgreSQL hold the same. A change here needs a migration under
`migrations/versions` and a new `HEAD`; a test compares the migrated schema with these tables.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

HEAD = "0006"
"""The newest migration: a store that carries it is opened without loading alembic."""

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"}
    | {"fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)

position = Table(
    "position",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)

judged = Table(
    "judged",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("through", BigInteger, nullable=False),  # end of the last window that was decided on
)

finding = Table(
    "finding",
    metadata,
    Column("id", Text, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("detector", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_end", BigInteger, nullable=False),
    Column("log10_p", Float),
    Column("severity", Text, nullable=False),
    Column("evidence", Integer, nullable=False),  # number of blocks
    Column("pending", Integer, nullable=False),  # 1 until its window is decided on
    Column("content", Text, nullable=False),
    Column("downtime", Text),  # reason of the planned work in which it falls
    Index("ix_finding_window", "stream", "window_end", "id"),
    Index("ix_finding_pending", "pending", "stream"),
    Index("ix_finding_kind", "kind", "stream", "window_end"),
)

alert = Table(
    "alert",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("history", Text, nullable=False),  # one sign a judged window, newest last; empty once long quiet
    Column("began", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # end of the last window with a signal
    Column("severity", Text, nullable=False),
    Column("log10_p", Float),
    Column("findings", Text, nullable=False),  # ids since it began to pend
    Column("incident", Text, ForeignKey("incident.id")),
    Index("ix_alert_active", "stream", "scope", "history"),
    Index("ix_alert_incident", "incident"),
)

incident = Table(
    "incident",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("about", Text, nullable=False),  # the entities it is about: one endpoint, or a link's two ends
    Column("title", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # end of the last window with a signal
    Column("resolved", BigInteger),
    Column("known_until", BigInteger),
    Column("feedback", Text),  # confirmed, false-alarm
    Column("merged_into", Text),
    Column("subjects", Text, nullable=False),
    Column("lead", Text, nullable=False),  # rank of the finding that gave the title
    Index("ix_incident_scope", "stream", "scope", "state"),
    Index("ix_incident_opened", "opened", "id"),
)

incident_place = Table(
    "incident_place",
    metadata,
    Column("incident", Text, ForeignKey("incident.id"), primary_key=True),
    Column("place", Text, primary_key=True),  # of the topology: what else is part of it is related
    Index("ix_incident_place_place", "place"),
)

incident_finding = Table(
    "incident_finding",
    metadata,
    Column("incident", Text, ForeignKey("incident.id"), primary_key=True),
    Column("finding", Text, ForeignKey("finding.id"), primary_key=True),
    Column("role", Text, nullable=False),  # alarm, supporting
    Index("ix_incident_finding_finding", "finding"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("incident", Text, ForeignKey("incident.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_event_incident", "incident"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("key", Text, primary_key=True),
    Column("incident", Text, ForeignKey("incident.id"), nullable=False),
    Column("sink", Text, nullable=False),
    Column("state", Text, nullable=False),  # proposed, queued, sent, failed
    Column("at", BigInteger, nullable=False),
    UniqueConstraint("incident", "sink"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ticket", Text, ForeignKey("ticket.key"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("sink", Text, nullable=False),
    Column("kind", Text, nullable=False),  # created, updated, resolved
    Column("body", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # when it was decided
    Column("state", Text, nullable=False),  # queued, sent, failed
    Column("attempts", Integer, nullable=False),
    Column("due", BigInteger, nullable=False),  # wall clock; 0 = now
    UniqueConstraint("ticket", "sequence"),
    Index("ix_outbox_state", "state", "due"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("message", Text, ForeignKey("outbox.id"), nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger),
    Column("outcome", Text),  # sent, retry, failed; empty: cut off before the answer was noted
    Column("detail", Text),
    Index("ix_attempt_message", "message"),
)

budget_spend = Table(
    "budget_spend",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("budget", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("week", BigInteger, primary_key=True),  # start of the week in event time
    Column("allowed", Float, nullable=False),  # false alarms a week
    Column("spent", Float, nullable=False),  # expected false alarms so far: sum of tests x threshold
    Column("alarms", Integer, nullable=False),
    Column("unranked", Integer, nullable=False),  # of these, alarms without a p-value
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("incident", Text, ForeignKey("incident.id"), nullable=False),
    Column("answer", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Index("ix_feedback_incident", "incident"),
)

tuning = Table(
    "tuning",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("factor", Float, nullable=False),  # of the budget, 1/16 to 1
)

silence = Table(
    "silence",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("stream", Text, nullable=False),
    Column("subject", Text, nullable=False),  # labels that must agree
    Column("until", BigInteger, nullable=False),  # event time
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("incident", Text, ForeignKey("incident.id")),
    Index("ix_silence_stream", "stream", "until"),
)

sign_off = Table(
    "sign_off",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("stream", Text, nullable=False),
    Column("subsystem", Text, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # included
    Column("verdict", Text, nullable=False),  # good, bad, as judged
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("comment", Text, nullable=False),
    Index("ix_sign_off_run", "stream", "run"),
)

clustering = Table(
    "clustering",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("through", BigInteger, nullable=False),  # end of the last hour of errors that was taken in
    Column("clustered", BigInteger),  # and of the one with which the clusters were last made; empty: never
    Column("changed", Integer, nullable=False),  # 1 where error forms came or went since
    Column("version", Integer, nullable=False),  # one more with each transaction, so that two do not cross
)

cluster = Table(
    "cluster",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("title", Text),  # what operators call it; empty: its name
    Column("state", Text, nullable=False),  # live, merged, gone
    Column("pinned", Integer, nullable=False),
    Column("into", Text),  # the cluster of which it is part now
    Column("joined", Integer, nullable=False),  # 1 where operators made it part of that
    Column("born", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # time of the last clustering in which it had members
    Column("exemplars", Text, nullable=False),  # templates and texts of its most central members
)

cluster_member = Table(
    "cluster_member",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("template", Text, primary_key=True),
    Column("cluster", Text),  # empty: of none
    Column("strength", Float, nullable=False),  # of its membership, 0 to 1
    Column("text", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("first", BigInteger, nullable=False),  # start of the first and …
    Column("last", BigInteger, nullable=False),  # … end of the last hour in which it came
    Column("messages", BigInteger, nullable=False),
    Column("hours", Text, nullable=False),  # start of an hour and its messages, of the last days
    Column("example", Text, nullable=False),
    Column("hosts", Text, nullable=False),  # those with most of them in the last hour in which it came
)

cluster_event = Table(
    "cluster_event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("stream", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # of what the service notes: event time
    Column("by", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_cluster_event_cluster", "stream", "scope", "cluster"),
)

backfill = Table(  # in a store of a backfill: of which one its findings are
    "backfill",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("archive", Text, nullable=False),
    Column("begin", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("settings", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("build", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
