"""The domain of an account's address, with those of the accounts there are"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The columns that this revision is about, not the models of today.
account = sa.table("account", sa.column("email", sa.String), sa.column("domain"))


def upgrade() -> None:
    # A column with a constant default is added without a rewrite of the table.
    op.add_column(
        "account",
        sa.Column("domain", sa.String(200), server_default="", nullable=False),
    )
    op.execute(
        account.update().values(domain=sa.func.split_part(account.c.email, "@", 2))
    )


def downgrade() -> None:
    op.drop_column("account", "domain")
