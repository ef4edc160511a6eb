"""The console: pages that are made on the server, from templates/ and static/. A page is a row of pages_table.py.

Trusts: the Call, whose session is proved and whose form bears its CSRF value. Refuses: scripts and styles from anywhere
but static/, text that is not escaped. Works without JavaScript but for passkeys and one-time links.
"""
