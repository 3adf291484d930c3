"""The downtime in which a finding falls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("finding", sa.Column("downtime", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("finding", "downtime")
