"""Bytes in, bytes out: objects (stream), keys (keyring), trees (merkle), signed notes (signing).

Trusts: the operating system's randomness and the key source. Refuses: anything that does not verify, with Damaged.
There are no choices of cipher. Formats: docs/reference/object-format.md, docs/reference/ledger-format.md.

    keyring = Keyring.open(home, create_source("", home, config_dir=..., credentials_dir=None))
    sealed = Encryptor(data_key, key_id, object_id)
"""
