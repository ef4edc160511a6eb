"""Pixels: read a frame, decode it in a process with limits, give it in another transfer syntax, draw it.

Trusts: index rows. Refuses: to decode in a server process, to lose anything in a conversion, to hold a whole object.

    for piece in converted(archive, row, "1.2.840.10008.1.2.4.80", is_file=True): ...   # transcode.py
    media_type, picture = archive.decoder.render(archive, row, ...)                      # decode.py, rendering.py
"""
