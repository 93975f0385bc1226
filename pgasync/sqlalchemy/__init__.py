"""The SQLAlchemy dialect `postgresql+pgasync`, registered by entry point."""
