"""Loads SQLAlchemy's own PostgreSQL provisioning, which its test suite looks for
beside the dialect."""

from sqlalchemy.dialects.postgresql import provision  # noqa: F401
