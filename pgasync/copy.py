"""Connection.copy(): any COPY between the server and the client.

PostgreSQL documentation, COPY.
"""

from .copyin import CopyingIn
from .copyout import CopyingOut

__all__ = ["Copying"]


class Copying(CopyingIn, CopyingOut):
    """The methods of a Connection that are about COPY."""
