"""Clusters of error texts: their registry, what is remembered of the texts, and what happened to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("ix_finding_kind", "finding", ["kind", "stream", "window_end"], unique=False)
    op.create_table(
        "clustering",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("through", sa.BigInteger(), nullable=False),
        sa.Column("clustered", sa.BigInteger(), nullable=True),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "scope", name=op.f("pk_clustering")),
    )
    op.create_table(
        "cluster",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("pinned", sa.Integer(), nullable=False),
        sa.Column("into", sa.Text(), nullable=True),
        sa.Column("joined", sa.Integer(), nullable=False),
        sa.Column("born", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("exemplars", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "scope", "name", name=op.f("pk_cluster")),
    )
    op.create_table(
        "cluster_member",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=True),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("hours", sa.Text(), nullable=False),
        sa.Column("example", sa.Text(), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "scope", "template", name=op.f("pk_cluster_member")),
    )
    op.create_table(
        "cluster_event",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster_event")),
    )
    op.create_index("ix_cluster_event_cluster", "cluster_event", ["stream", "scope", "cluster"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_cluster_event_cluster", "cluster_event")
    op.drop_table("cluster_event")
    op.drop_table("cluster_member")
    op.drop_table("cluster")
    op.drop_table("clustering")
    op.drop_index("ix_finding_kind", "finding")
