"""Connection.copy(): any COPY between the server and the client.

PostgreSQL documentation, COPY.
"""

from .copyin import CopyingIn

__all__ = ["Copying"]


class Copying(CopyingIn):
    """The methods of a Connection that are about COPY."""
