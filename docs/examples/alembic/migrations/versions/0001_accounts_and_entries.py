"""Accounts and entries"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A type of its own lives as long as its CREATE TYPE and DROP TYPE say: create_table()
# and drop_table() are told to leave it alone.
entry_kind = pg.ENUM("sale", "refund", name="entry_kind", create_type=False)
moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid, server_default=sa.text("gen_random_uuid()")),
        sa.Column("email", sa.String(200), nullable=False),
        sa.Column("created", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("email", name="uq_account_email"),
    )
    op.execute("CREATE TYPE entry_kind AS ENUM ('sale', 'refund')")
    op.create_table(
        "entry",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("kind", entry_kind, server_default="sale", nullable=False),
        sa.Column("amount", sa.Numeric(12, 2), nullable=False),
        sa.Column("tags", pg.ARRAY(sa.Text), server_default="{}", nullable=False),
        sa.Column("details", pg.JSONB, server_default="{}", nullable=False),
        sa.Column("booked", moment, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entry"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
            name="fk_entry_account_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_entry_amount")),
    )
    op.execute("CREATE SCHEMA audit")
    op.create_table(
        "change",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column(
            "at", moment, server_default=sa.func.clock_timestamp(), nullable=False
        ),
        sa.Column("what", sa.Text, nullable=False, comment="One sentence"),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        schema="audit",
        comment="Who did what",
    )


def downgrade() -> None:
    op.drop_table("change", schema="audit")
    op.execute("DROP SCHEMA audit")
    op.drop_table("entry")
    op.execute("DROP TYPE entry_kind")
    op.drop_table("account")
