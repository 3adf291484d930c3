"""Which places of the topology an incident is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "incident_place",
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incident.id"], name=op.f("fk_incident_place_incident")),
        sa.PrimaryKeyConstraint("incident", "place", name=op.f("pk_incident_place")),
    )
    op.create_index("ix_incident_place_place", "incident_place", ["place"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_incident_place_place", "incident_place")
    op.drop_table("incident_place")
