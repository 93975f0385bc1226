"""Indexes built while the application writes; entries can be gifts"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Neither CREATE INDEX CONCURRENTLY nor the use of a new value of an enum works
    # inside of a transaction. What is here can be done in part when it fails: it is
    # written so that a second run completes it.
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE entry_kind ADD VALUE IF NOT EXISTS 'gift'")
        op.create_index(
            "ix_entry_account_id_booked",
            "entry",
            ["account_id", sa.text("booked DESC")],
            postgresql_concurrently=True,
            if_not_exists=True,
        )
        op.create_index(
            "ix_entry_tags",
            "entry",
            ["tags"],
            postgresql_using="gin",
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in ("ix_entry_tags", "ix_entry_account_id_booked"):
            op.drop_index(name, "entry", postgresql_concurrently=True, if_exists=True)
    # An enum's value cannot be dropped: the type is replaced.
    op.execute("UPDATE entry SET kind = 'sale' WHERE kind = 'gift'")
    op.execute("ALTER TABLE entry ALTER kind DROP DEFAULT")
    op.execute("ALTER TYPE entry_kind RENAME TO entry_kind_old")
    op.execute("CREATE TYPE entry_kind AS ENUM ('sale', 'refund')")
    op.execute(
        "ALTER TABLE entry ALTER kind TYPE entry_kind USING kind::text::entry_kind"
    )
    op.execute("ALTER TABLE entry ALTER kind SET DEFAULT 'sale'")
    op.execute("DROP TYPE entry_kind_old")
