"""The standard's words: tables as data, bounded parsers, values by their character sets.

Trusts: nothing that it reads. Refuses: depth, counts and lengths beyond Limits, before anything is allocated for them.
Sans-I/O. pydicom serves as dictionary and for character sets only.

    head = parse_head(buffer, is_complete=False, limits=Limits())   # None: more bytes are needed
"""
