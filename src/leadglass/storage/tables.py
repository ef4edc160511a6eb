"""Every table of the index, in portable SQL types: the same definitions serve SQLite and PostgreSQL.

Times are Unix seconds (float). All of it is PHI or worse: it exists only inside the page-encrypted database.
"""

import sqlalchemy as sa

__all__ = [
    "clients", "commitments", "confirmations", "credentials", "derived_objects", "devices", "epoch", "failures",
    "findings", "grants", "holds", "instance_heads", "instances", "invitations", "ledger", "ledger_head", "metadata", "people",
    "quarantine", "rejection_targets", "rejections", "retention_rules", "scrub_runs", "sequence_values", "series",
    "sessions", "spent", "studies", "study_keys", "tasks", "tokens",
]

metadata = sa.MetaData()
_Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite's rowid is INTEGER
_C = sa.Column
_Text = sa.Text


def _id() -> "sa.Column[int]":
    return _C("id", _Big, primary_key=True, autoincrement=True)


# --- archive --------------------------------------------------------------------------------------------------
studies = sa.Table(
    "studies", metadata, _id(),
    _C("study_uid", _Text, nullable=False, unique=True),
    _C("patient_id", _Text, nullable=False, default=""),
    _C("issuer_of_patient_id", _Text, nullable=False, default=""),
    _C("patient_name", _Text, nullable=False, default=""),  # as received, decoded to Unicode
    _C("patient_name_key", _Text, nullable=False, default=""),  # folded for matching: see archive.search.fold
    _C("patient_birth_date", _Text, nullable=False, default=""),
    _C("patient_sex", _Text, nullable=False, default=""),
    _C("study_date", _Text, nullable=False, default=""),
    _C("study_time", _Text, nullable=False, default=""),
    _C("accession_number", _Text, nullable=False, default=""),
    _C("study_id", _Text, nullable=False, default=""),
    _C("study_description", _Text, nullable=False, default=""),
    _C("referring_physician_name", _Text, nullable=False, default=""),
    _C("referring_physician_key", _Text, nullable=False, default=""),
    _C("modalities", _Text, nullable=False, default=""),  # "\\CT\\SR\\": sorted, with a backslash on both ends
    _C("attributes", _Text, nullable=False, default="{}"),  # JSON model of further attributes, from the first instance
    _C("series_count", sa.Integer, nullable=False, default=0),
    _C("instance_count", sa.Integer, nullable=False, default=0),
    _C("site", _Text, nullable=False, default="main"),
    _C("received_at", sa.Float, nullable=False),
    _C("changed_at", sa.Float, nullable=False),
    sa.Index("studies_patient_id", "patient_id"),
    sa.Index("studies_patient_name_key", "patient_name_key"),
    sa.Index("studies_study_date", "study_date", "study_time"),
    sa.Index("studies_accession_number", "accession_number"),
    sa.Index("studies_referring", "referring_physician_key"),
    sa.Index("studies_received_at", "received_at"),
)
series = sa.Table(
    "series", metadata, _id(),
    _C("study", _Big, sa.ForeignKey("studies.id"), nullable=False),
    _C("series_uid", _Text, nullable=False),
    _C("modality", _Text, nullable=False, default=""),
    _C("series_number", _Text, nullable=False, default=""),
    _C("series_description", _Text, nullable=False, default=""),
    _C("series_date", _Text, nullable=False, default=""),
    _C("series_time", _Text, nullable=False, default=""),
    _C("body_part", _Text, nullable=False, default=""),
    _C("station_name", _Text, nullable=False, default=""),
    _C("pps_start_date", _Text, nullable=False, default=""),
    _C("pps_start_time", _Text, nullable=False, default=""),
    _C("attributes", _Text, nullable=False, default="{}"),  # as in studies
    _C("instance_count", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("study", "series_uid", name="series_once_in_a_study"),
    sa.Index("series_uid", "series_uid"),
)
instances = sa.Table(
    "instances", metadata, _id(),
    _C("study", _Big, sa.ForeignKey("studies.id"), nullable=False),
    _C("series", _Big, sa.ForeignKey("series.id"), nullable=False),
    _C("sop_instance_uid", _Text, nullable=False, unique=True),
    _C("sop_class_uid", _Text, nullable=False),
    _C("transfer_syntax_uid", _Text, nullable=False),
    _C("instance_number", _Text, nullable=False, default=""),
    _C("rows", sa.Integer), _C("columns", sa.Integer), _C("bits_allocated", sa.Integer),
    _C("frames", sa.Integer, nullable=False, default=0),  # 0 = no pixel data
    _C("object_name", _Text, nullable=False, unique=True),  # random, never a UID
    _C("length", _Big, nullable=False),  # bytes of the Part 10 file
    _C("dataset_offset", _Big, nullable=False),  # where the data set starts in it
    _C("pixel_offset", _Big, nullable=False),  # tag of the pixel data element in it; -1 = none
    _C("digest", sa.LargeBinary, nullable=False),  # SHA-256 of the data set as received
    _C("source", _Text, nullable=False, default=""),  # subject id
    _C("received_at", sa.Float, nullable=False),
    _C("rejection", _Big),  # id in rejections; NULL = shown; else hidden from search and retrieve
    sa.Index("instances_series", "series"),
    sa.Index("instances_study", "study"),
)
instance_heads = sa.Table(  # headers of what has come lately, until the metadata of their series is made of them
    "instance_heads", metadata,
    _C("instance", _Big, sa.ForeignKey("instances.id"), primary_key=True, autoincrement=False),
    _C("head", sa.LargeBinary, nullable=False),  # see archive.heads
)
derived_objects = sa.Table(  # what was made from stored instances and can be made anew: never counted, never exported
    "derived_objects", metadata, _id(),
    _C("study", _Big, sa.ForeignKey("studies.id"), nullable=False),  # under its key
    _C("series", _Big, sa.ForeignKey("series.id")), _C("instance", _Big, sa.ForeignKey("instances.id")),
    _C("kind", _Text, nullable=False),  # see archive.derived.KINDS
    _C("made_from", sa.LargeBinary, nullable=False),  # over the digests of all that it shows: other content, other row
    _C("object_name", _Text, nullable=False, unique=True), _C("length", _Big, nullable=False),
    _C("made_at", sa.Float, nullable=False),
    sa.UniqueConstraint("kind", "made_from", name="derived_once"),
    sa.Index("derived_study", "study"), sa.Index("derived_series", "series"), sa.Index("derived_instance", "instance"),
)
quarantine = sa.Table(  # versions of an instance beside the one that is shown: kept, reported, not shown
    "quarantine", metadata, _id(),
    _C("task", _Big),  # id in tasks
    _C("state", _Text, nullable=False, default="held"),  # held (waits for a decision) | superseded (was shown before)
    _C("sop_instance_uid", _Text, nullable=False), _C("study_uid", _Text, nullable=False),
    _C("object_name", _Text, nullable=False, unique=True), _C("length", _Big, nullable=False),
    _C("digest", sa.LargeBinary, nullable=False), _C("reason", _Text, nullable=False),
    _C("source", _Text, nullable=False), _C("received_at", sa.Float, nullable=False),
    _C("head", _Text, nullable=False, default="{}"),  # JSON: all that the index needs, if this version is chosen
    _C("purge_at", sa.Float),  # when a version that lost may be deleted; NULL while it waits
    sa.UniqueConstraint("sop_instance_uid", "digest", name="quarantined_once"),
    sa.Index("quarantine_task", "task"), sa.Index("quarantine_share", "source", "length"),
    sa.Index("quarantine_purge", "purge_at"), sa.Index("quarantine_study", "study_uid"),
)
tasks = sa.Table(  # reconciliation: what a person has to decide, by when
    "tasks", metadata, _id(),
    _C("kind", _Text, nullable=False),  # unsorted (not compared yet) | reencoded | demographics | content | identity
    _C("study_uid", _Text, nullable=False), _C("patient_id", _Text, nullable=False, default=""),
    _C("source", _Text, nullable=False),  # subject id of the sender
    _C("state", _Text, nullable=False),  # open | accepted | dismissed
    _C("instances", sa.Integer, nullable=False, default=0), _C("facts", _Text, nullable=False, default="{}"),  # JSON
    _C("opened_at", sa.Float, nullable=False), _C("due_at", sa.Float, nullable=False),
    _C("told_at", sa.Float),  # when its being overdue was put into the ledger
    _C("closed_at", sa.Float), _C("closed_by", _Text, nullable=False, default=""),
    _C("reason", _Text, nullable=False, default=""),
    sa.Index("tasks_state", "state", "due_at"), sa.Index("tasks_study", "study_uid"),
)
rejections = sa.Table(  # Key Object Selections that reject instances. Ref: IHE RAD IOCM, PS3.16 CID 7010
    "rejections", metadata, _id(),
    _C("note_uid", _Text, nullable=False, unique=True), _C("code", _Text, nullable=False),  # 113001, 113037...
    _C("study_uid", _Text, nullable=False), _C("source", _Text, nullable=False),
    _C("instances", sa.Integer, nullable=False, default=0), _C("created_at", sa.Float, nullable=False),
    _C("state", _Text, nullable=False, default="active"),  # active | lifted
    _C("is_own_only", sa.Boolean, nullable=False),  # the sender may reject only what it sent itself
    _C("lifted_at", sa.Float), _C("lifted_by", _Text, nullable=False, default=""),
    sa.Index("rejections_study", "study_uid"),
)
rejection_targets = sa.Table(  # every instance that a note names, stored already or not yet
    "rejection_targets", metadata, _id(),
    _C("rejection", _Big, sa.ForeignKey("rejections.id"), nullable=False),
    _C("sop_instance_uid", _Text, nullable=False),
    sa.Index("rejection_targets_uid", "sop_instance_uid"), sa.Index("rejection_targets_of", "rejection"),
)
holds = sa.Table(  # legal holds: nothing of the study is deleted while one is open
    "holds", metadata, _id(),
    _C("study_uid", _Text, nullable=False), _C("reason", _Text, nullable=False),
    _C("set_by", _Text, nullable=False), _C("set_at", sa.Float, nullable=False),
    _C("released_by", _Text, nullable=False, default=""), _C("released_at", sa.Float),
    sa.Index("holds_study", "study_uid"),
)
retention_rules = sa.Table(  # never changed: the newest row that has taken effect counts, older ones are the history
    "retention_rules", metadata, _id(),
    _C("site", _Text, nullable=False), _C("modality", _Text, nullable=False),  # "" = any
    _C("keep_days", sa.Integer, nullable=False),  # from the study's date: earlier nobody deletes
    _C("delete_after_days", sa.Integer),  # NULL = never by itself
    _C("set_by", _Text, nullable=False), _C("set_at", sa.Float, nullable=False),
    _C("effective_at", sa.Float, nullable=False), _C("is_removed", sa.Boolean, nullable=False, default=False),
    sa.Index("retention_rules_of", "site", "modality"),
)
scrub_runs = sa.Table(
    "scrub_runs", metadata, _id(),
    _C("state", _Text, nullable=False),  # running | done | cut
    _C("started_by", _Text, nullable=False, default=""),  # subject id: the schedule resumes only its own
    _C("started_at", sa.Float, nullable=False), _C("ended_at", sa.Float),
    _C("phase", _Text, nullable=False, default="instances"),  # of archive.life.scrub.PHASES
    _C("cursor", _Big, nullable=False, default=0),  # last id read in the phase: a restart goes on from here
    _C("objects", _Big, nullable=False, default=0), _C("verified", _Big, nullable=False, default=0),
    _C("bytes", _Big, nullable=False, default=0), _C("findings", sa.Integer, nullable=False, default=0),
    _C("unknown", _Big, nullable=False, default=0),  # files that no row names, at the round's end
)
findings = sa.Table(  # what a scrub found; names objects, never a patient
    "findings", metadata, _id(),
    _C("run", _Big, sa.ForeignKey("scrub_runs.id"), nullable=False), _C("object_name", _Text, nullable=False),
    _C("study_uid", _Text, nullable=False, default=""),
    _C("what", _Text, nullable=False),  # damaged | missing | content | key | count
    _C("found_at", sa.Float, nullable=False),
    _C("state", _Text, nullable=False, default="open"),  # open | mended | gone (deleted)
    sa.Index("findings_object", "object_name"),
)
commitments = sa.Table(  # storage commitment requests until their result was taken. Ref: PS3.4 J
    "commitments", metadata, _id(),
    _C("transaction_uid", _Text, nullable=False), _C("ae_title", _Text, nullable=False),
    _C("source", _Text, nullable=False), _C("study_uids", _Text, nullable=False, default="[]"),  # JSON
    _C("instances", _Text, nullable=False),  # JSON: [[SOP class, SOP instance], ...]
    _C("state", _Text, nullable=False),  # waiting | done | given-up
    _C("tries", sa.Integer, nullable=False, default=0), _C("next_try_at", sa.Float, nullable=False),
    _C("requested_at", sa.Float, nullable=False), _C("ended_at", sa.Float),
    sa.UniqueConstraint("ae_title", "transaction_uid", name="commitment_once"),
    sa.Index("commitments_due", "state", "next_try_at"),
)
sequence_values = sa.Table(  # values beside the columns that can be matched, inside sequences too. Ref: PS3.4 C.2.2.2.6
    "sequence_values", metadata, _id(),
    _C("study", _Big, sa.ForeignKey("studies.id"), nullable=False),
    _C("series", _Big, sa.ForeignKey("series.id")),  # NULL = an attribute of the study
    _C("keyword", _Text, nullable=False),  # RequestAttributesSequence.ScheduledProcedureStepID
    _C("item", sa.Integer, nullable=False),  # from 0: the keys of one question must hold in one item
    _C("value", _Text, nullable=False),
    sa.Index("sequence_values_find", "keyword", "value"), sa.Index("sequence_values_series", "series"),
    sa.Index("sequence_values_study", "study"),
)
study_keys = sa.Table(
    "study_keys", metadata,
    _C("study_uid", _Text, primary_key=True),
    _C("key_id", sa.LargeBinary, nullable=False, unique=True),  # 16 random bytes, named in object headers
    _C("kek_version", sa.Integer, nullable=False),
    _C("wrapped", sa.LargeBinary, nullable=False),
    _C("created_at", sa.Float, nullable=False),
)

# --- identity -------------------------------------------------------------------------------------------------
people = sa.Table(
    "people", metadata,
    _C("id", _Text, primary_key=True),  # 32 hex digits
    _C("name", _Text, nullable=False, unique=True),  # login name, lower case
    _C("display_name", _Text, nullable=False, default=""),
    _C("roles", _Text, nullable=False),  # JSON list
    _C("referring_name", _Text, nullable=False, default=""),
    _C("state", _Text, nullable=False),  # invited | enrolled (waits for the number) | active | disabled
    _C("created_at", sa.Float, nullable=False), _C("created_by", _Text, nullable=False),
    _C("last_seen_at", sa.Float),
    _C("webauthn_user_handle", sa.LargeBinary, nullable=False, unique=True),
)
credentials = sa.Table(
    "credentials", metadata,
    _C("id", _Text, primary_key=True),
    _C("person", _Text, sa.ForeignKey("people.id"), nullable=False),
    _C("kind", _Text, nullable=False),  # password | totp | passkey | recovery
    _C("label", _Text, nullable=False, default=""),
    _C("credential_id", sa.LargeBinary, unique=True),  # passkeys
    _C("secret", sa.LargeBinary, nullable=False),  # PHC string, TOTP seed, public key, code hash
    _C("counter", _Big, nullable=False, default=0),  # signature counter; TOTP: last step used
    _C("facts", _Text, nullable=False, default="{}"),  # JSON
    _C("state", _Text, nullable=False, default="active"),  # pending | active | used | removed
    _C("created_at", sa.Float, nullable=False), _C("last_used_at", sa.Float),
    sa.Index("credentials_person", "person"),
)
invitations = sa.Table(  # one-time enrolment links; only a hash of the secret is kept
    "invitations", metadata,
    _C("secret_hash", sa.LargeBinary, primary_key=True),
    _C("person", _Text, sa.ForeignKey("people.id"), nullable=False),
    _C("invited_by", _Text, nullable=False),
    _C("created_at", sa.Float, nullable=False), _C("expires_at", sa.Float, nullable=False),
    _C("state", _Text, nullable=False),  # open | opened | done | void
    _C("ceremony_hash", sa.LargeBinary, unique=True),  # the browser's handle once opened
    _C("facts", _Text, nullable=False, default="{}"),  # JSON: what the ceremony has gathered
)
confirmations = sa.Table(  # the short number that the inviter must hear from the person
    "confirmations", metadata,
    _C("person", _Text, sa.ForeignKey("people.id"), primary_key=True),
    _C("number_hash", sa.LargeBinary, nullable=False), _C("salt", sa.LargeBinary, nullable=False),
    _C("tries_left", sa.Integer, nullable=False), _C("expires_at", sa.Float, nullable=False),
)
sessions = sa.Table(
    "sessions", metadata,
    _C("secret_hash", sa.LargeBinary, primary_key=True),
    _C("id", _Text, nullable=False, unique=True),  # the handle named in grants and records
    _C("person", _Text, sa.ForeignKey("people.id"), nullable=False),
    _C("csrf", _Text, nullable=False),
    _C("factors", _Text, nullable=False), _C("assurance", sa.Integer, nullable=False),
    _C("authenticated_at", sa.Float, nullable=False), _C("last_seen_at", sa.Float, nullable=False),
    _C("expires_at", sa.Float, nullable=False),
    _C("state", _Text, nullable=False),  # active | locked | ended
    _C("address", _Text, nullable=False, default=""), _C("agent", _Text, nullable=False, default=""),
    sa.Index("sessions_person", "person"),
)
clients = sa.Table(
    "clients", metadata,
    _C("id", _Text, primary_key=True), _C("name", _Text, nullable=False, unique=True),
    _C("role", _Text, nullable=False), _C("public_jwk", _Text, nullable=False),
    _C("state", _Text, nullable=False), _C("created_at", sa.Float, nullable=False),
    _C("created_by", _Text, nullable=False), _C("last_used_at", sa.Float),
)
tokens = sa.Table(
    "tokens", metadata,
    _C("secret_hash", sa.LargeBinary, primary_key=True),
    _C("id", _Text, nullable=False, unique=True),
    _C("client", _Text, sa.ForeignKey("clients.id"), nullable=False),
    _C("created_at", sa.Float, nullable=False), _C("expires_at", sa.Float, nullable=False),
    _C("factor", _Text, nullable=False),  # private_key_jwt | operator
)
devices = sa.Table(
    "devices", metadata,
    _C("ae_title", _Text, primary_key=True),
    _C("host", _Text, nullable=False, default=""),  # numeric address, network in CIDR or "" with a certificate
    _C("role", _Text, nullable=False),
    _C("certificate_sha256", _Text, nullable=False, default=""), _C("certificate_pem", sa.LargeBinary),
    _C("port", sa.Integer, nullable=False, default=0),  # where it takes associations; 0 = it takes none
    _C("owner", _Text, nullable=False, default=""), _C("until", sa.Float),
    _C("state", _Text, nullable=False), _C("created_at", sa.Float, nullable=False),
    _C("created_by", _Text, nullable=False), _C("last_seen_at", sa.Float),
)
spent = sa.Table(  # things that open once: challenges, token ids
    "spent", metadata,
    _C("hash", sa.LargeBinary, primary_key=True), _C("expires_at", sa.Float, nullable=False),
)
failures = sa.Table(  # wrong passwords and codes, by account and by address
    "failures", metadata,
    _C("key", _Text, primary_key=True),  # a keyed hash: a wrong "name" may be a password
    _C("count", sa.Integer, nullable=False), _C("last_at", sa.Float, nullable=False),
)

# --- audit and access -----------------------------------------------------------------------------------------
ledger = sa.Table(
    "ledger", metadata,
    _C("index", _Big, primary_key=True, autoincrement=False),  # 0, 1, 2... without a gap
    _C("leaf_hash", sa.LargeBinary, nullable=False),
    _C("salt", sa.LargeBinary), _C("record", sa.LargeBinary),  # NULL only after a lawful erasure
    _C("time", sa.Float, nullable=False),
    _C("event", _Text, nullable=False), _C("action", _Text, nullable=False), _C("outcome", _Text, nullable=False),
    _C("subject", _Text, nullable=False), _C("subject_name", _Text, nullable=False),
    _C("study_uid", _Text, nullable=False, default=""), _C("patient_id", _Text, nullable=False, default=""),
    sa.Index("ledger_study", "study_uid", "index"), sa.Index("ledger_subject", "subject", "index"),
    sa.Index("ledger_time", "time"),
)
ledger_head = sa.Table(  # one row: size and the right edge of the Merkle tree, so that an append is O(log n)
    "ledger_head", metadata,
    _C("id", sa.Integer, primary_key=True, autoincrement=False),
    _C("size", _Big, nullable=False), _C("edge", sa.LargeBinary, nullable=False),
)
epoch = sa.Table(  # one row: raised in every transaction that takes something away
    "epoch", metadata,
    _C("id", sa.Integer, primary_key=True, autoincrement=False), _C("value", _Big, nullable=False),
)
grants = sa.Table(  # so that two workers do not record one view twice
    "grants", metadata,
    _C("session_id", _Text, primary_key=True), _C("action", _Text, primary_key=True),
    _C("resource", _Text, primary_key=True),
    _C("receipt_index", _Big, nullable=False), _C("leaf_hash", sa.LargeBinary, nullable=False),
    _C("expires_at", sa.Float, nullable=False), _C("epoch", _Big, nullable=False),
    _C("subject", _Text, nullable=False), _C("subject_name", _Text, nullable=False),
    _C("instances", _Big, nullable=False, default=0), _C("frames", _Big, nullable=False, default=0),
    _C("bytes", _Big, nullable=False, default=0),
    sa.Index("grants_expiry", "expires_at"),
)
