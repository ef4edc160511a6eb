"""What the wire proves: certificate authorities, TLS contexts, trust in browsers.

Two authorities that never meet: the web CA, which browsers trust and which critical name constraints bind to this
home's own names, and the device CA, which only the DICOM port believes. Trusts: the keyring's derived passwords.
Refuses: TLS below 1.2 on the DICOM port, below 1.3 on the web, and private keys in clear on disk.
"""
