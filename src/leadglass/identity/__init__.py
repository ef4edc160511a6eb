"""Who is asking: people, devices, machine clients, and what proves them.

Trusts: the encrypted database. Refuses: one factor for people, a title alone for devices, shared secrets for machines.
Only hashes are kept of secrets that are handed out. Decisions and records are made by access, in the same transaction.

    secret, session = sessions.create(connection, person, ("passkey",), now=now, ...)
"""
