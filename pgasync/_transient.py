"""SQLSTATEs of errors that are transient: the same statement or transaction may well
succeed some time later, though neither it nor anything it needs has been changed."""

TRANSIENT = {
    "08000": "the connection broke",
    "08001": "the connection could not be opened",
    "08003": "the connection is gone",
    "08006": "the connection broke",
    "08007": "the connection broke at the end of a transaction",
    "40000": "the server rolled the transaction back",
    "40001": "another transaction was in the way",
    "40003": "the server does not know whether it has run",
    "40P01": "another transaction was in the way",
    "53000": "the server lacks something",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has no connection left",
    "55006": "somebody uses the object",
    "55P03": "somebody holds the lock",
    "57P01": "the server shuts down, or a session was ended",
    "57P02": "a backend crashed",
    "57P03": "the server starts up or shuts down",
    "57P05": "the session was idle for too long",
    "58000": "trouble with the operating system",
    "58030": "trouble with a disk",
    "HV00N": "a foreign server cannot be reached",
}

# What ends a session and comes again in the next one.
FINAL = ("57P04", "25P04")  # the database is gone; transaction_timeout
