"""Images: take in, index, search, give back, decode.

Trusts: its callers, who hold a Grant (only access and compose may import it). Refuses: input beyond its limits, and
any decoding inside a server process: pixels are decoded in child processes with limits.

    intake = Intake(archive, transfer_syntax=None, expected=None, source=subject.id)
    intake.feed(data); staged = intake.finish()
    with database.write() as connection: outcome = index_staged(connection, staged, now, site)
"""

from leadglass.archive.pixels.decode import Decoder
from leadglass.settings import Settings
from leadglass.storage.blobs import BlobStore
from leadglass.storage.database import Database
from leadglass.storage.study_keys import StudyKeys

__all__ = ["Archive"]


class Archive:
    """What the files of this room share: where objects lie, whose keys open them, who decodes."""

    def __init__(
        self, database: Database, blobs: BlobStore, study_keys: StudyKeys, settings: Settings, decoder: Decoder
    ) -> None:
        self.database = database
        self.blobs = blobs
        self.study_keys = study_keys
        self.settings = settings
        self.decoder = decoder

    def close(self) -> None:
        """End the decode processes."""
        self.decoder.close()
