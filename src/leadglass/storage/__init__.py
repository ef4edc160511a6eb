"""Bytes and rows at rest: encrypted objects (blobs), the encrypted index (database), its schema (migrate).

Trusts: the keys it is given, and the file system's fsync. Refuses: clear text on disk, and SQL of one engine only.

    database = Database(settings.database_path, keyring.derive("database"))
    with database.write() as connection: ...
"""
