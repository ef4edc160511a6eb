"""The first schema: archive, identity, audit and access."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, an empty ledger, and the first epoch."""
    op.create_table("clients",
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("role", sa.Text(), nullable=False),
    sa.Column("public_jwk", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("created_by", sa.Text(), nullable=False),
    sa.Column("last_used_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("name")
    )
    op.create_table("devices",
    sa.Column("ae_title", sa.Text(), nullable=False),
    sa.Column("host", sa.Text(), nullable=False),
    sa.Column("role", sa.Text(), nullable=False),
    sa.Column("certificate_sha256", sa.Text(), nullable=False),
    sa.Column("certificate_pem", sa.LargeBinary(), nullable=True),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("until", sa.Float(), nullable=True),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("created_by", sa.Text(), nullable=False),
    sa.Column("last_seen_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("ae_title")
    )
    op.create_table("epoch",
    sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("value", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.PrimaryKeyConstraint("id")
    )
    op.create_table("failures",
    sa.Column("key", sa.Text(), nullable=False),
    sa.Column("count", sa.Integer(), nullable=False),
    sa.Column("last_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("key")
    )
    op.create_table("grants",
    sa.Column("session_id", sa.Text(), nullable=False),
    sa.Column("action", sa.Text(), nullable=False),
    sa.Column("resource", sa.Text(), nullable=False),
    sa.Column("receipt_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.Column("epoch", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("subject_name", sa.Text(), nullable=False),
    sa.Column("instances", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("frames", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.PrimaryKeyConstraint("session_id", "action", "resource")
    )
    op.create_index("grants_expiry", "grants", ["expires_at"], unique=False)
    op.create_table("ledger",
    sa.Column("index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
    sa.Column("salt", sa.LargeBinary(), nullable=True),
    sa.Column("record", sa.LargeBinary(), nullable=True),
    sa.Column("time", sa.Float(), nullable=False),
    sa.Column("event", sa.Text(), nullable=False),
    sa.Column("action", sa.Text(), nullable=False),
    sa.Column("outcome", sa.Text(), nullable=False),
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("subject_name", sa.Text(), nullable=False),
    sa.Column("study_uid", sa.Text(), nullable=False),
    sa.Column("patient_id", sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint("index")
    )
    op.create_index("ledger_study", "ledger", ["study_uid", "index"], unique=False)
    op.create_index("ledger_subject", "ledger", ["subject", "index"], unique=False)
    op.create_index("ledger_time", "ledger", ["time"], unique=False)
    op.create_table("ledger_head",
    sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("edge", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("id")
    )
    op.create_table("people",
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("display_name", sa.Text(), nullable=False),
    sa.Column("roles", sa.Text(), nullable=False),
    sa.Column("referring_name", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("created_by", sa.Text(), nullable=False),
    sa.Column("last_seen_at", sa.Float(), nullable=True),
    sa.Column("webauthn_user_handle", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("name"),
    sa.UniqueConstraint("webauthn_user_handle")
    )
    op.create_table("quarantine",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("sop_instance_uid", sa.Text(), nullable=False),
    sa.Column("study_uid", sa.Text(), nullable=False),
    sa.Column("object_name", sa.Text(), nullable=False),
    sa.Column("length", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("digest", sa.LargeBinary(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("source", sa.Text(), nullable=False),
    sa.Column("received_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("object_name"),
    sa.UniqueConstraint("sop_instance_uid", "digest", name="quarantined_once")
    )
    op.create_table("spent",
    sa.Column("hash", sa.LargeBinary(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("hash")
    )
    op.create_table("studies",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("study_uid", sa.Text(), nullable=False),
    sa.Column("patient_id", sa.Text(), nullable=False),
    sa.Column("issuer_of_patient_id", sa.Text(), nullable=False),
    sa.Column("patient_name", sa.Text(), nullable=False),
    sa.Column("patient_name_key", sa.Text(), nullable=False),
    sa.Column("patient_birth_date", sa.Text(), nullable=False),
    sa.Column("patient_sex", sa.Text(), nullable=False),
    sa.Column("study_date", sa.Text(), nullable=False),
    sa.Column("study_time", sa.Text(), nullable=False),
    sa.Column("accession_number", sa.Text(), nullable=False),
    sa.Column("study_id", sa.Text(), nullable=False),
    sa.Column("study_description", sa.Text(), nullable=False),
    sa.Column("referring_physician_name", sa.Text(), nullable=False),
    sa.Column("referring_physician_key", sa.Text(), nullable=False),
    sa.Column("modalities", sa.Text(), nullable=False),
    sa.Column("series_count", sa.Integer(), nullable=False),
    sa.Column("instance_count", sa.Integer(), nullable=False),
    sa.Column("site", sa.Text(), nullable=False),
    sa.Column("received_at", sa.Float(), nullable=False),
    sa.Column("changed_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("study_uid")
    )
    op.create_index("studies_accession_number", "studies", ["accession_number"], unique=False)
    op.create_index("studies_patient_id", "studies", ["patient_id"], unique=False)
    op.create_index("studies_patient_name_key", "studies", ["patient_name_key"], unique=False)
    op.create_index("studies_received_at", "studies", ["received_at"], unique=False)
    op.create_index("studies_referring", "studies", ["referring_physician_key"], unique=False)
    op.create_index("studies_study_date", "studies", ["study_date", "study_time"], unique=False)
    op.create_table("study_keys",
    sa.Column("study_uid", sa.Text(), nullable=False),
    sa.Column("key_id", sa.LargeBinary(), nullable=False),
    sa.Column("kek_version", sa.Integer(), nullable=False),
    sa.Column("wrapped", sa.LargeBinary(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("study_uid"),
    sa.UniqueConstraint("key_id")
    )
    op.create_table("confirmations",
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("number_hash", sa.LargeBinary(), nullable=False),
    sa.Column("salt", sa.LargeBinary(), nullable=False),
    sa.Column("tries_left", sa.Integer(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(["person"], ["people.id"] ),
    sa.PrimaryKeyConstraint("person")
    )
    op.create_table("credentials",
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("label", sa.Text(), nullable=False),
    sa.Column("credential_id", sa.LargeBinary(), nullable=True),
    sa.Column("secret", sa.LargeBinary(), nullable=False),
    sa.Column("counter", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("facts", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("last_used_at", sa.Float(), nullable=True),
    sa.ForeignKeyConstraint(["person"], ["people.id"] ),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("credential_id")
    )
    op.create_index("credentials_person", "credentials", ["person"], unique=False)
    op.create_table("invitations",
    sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("invited_by", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("ceremony_hash", sa.LargeBinary(), nullable=True),
    sa.Column("facts", sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(["person"], ["people.id"] ),
    sa.PrimaryKeyConstraint("secret_hash"),
    sa.UniqueConstraint("ceremony_hash")
    )
    op.create_table("series",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("study", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("series_uid", sa.Text(), nullable=False),
    sa.Column("modality", sa.Text(), nullable=False),
    sa.Column("series_number", sa.Text(), nullable=False),
    sa.Column("series_description", sa.Text(), nullable=False),
    sa.Column("series_date", sa.Text(), nullable=False),
    sa.Column("series_time", sa.Text(), nullable=False),
    sa.Column("body_part", sa.Text(), nullable=False),
    sa.Column("station_name", sa.Text(), nullable=False),
    sa.Column("pps_start_date", sa.Text(), nullable=False),
    sa.Column("pps_start_time", sa.Text(), nullable=False),
    sa.Column("instance_count", sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(["study"], ["studies.id"] ),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("study", "series_uid", name="series_once_in_a_study")
    )
    op.create_index("series_uid", "series", ["series_uid"], unique=False)
    op.create_table("sessions",
    sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("person", sa.Text(), nullable=False),
    sa.Column("csrf", sa.Text(), nullable=False),
    sa.Column("factors", sa.Text(), nullable=False),
    sa.Column("assurance", sa.Integer(), nullable=False),
    sa.Column("authenticated_at", sa.Float(), nullable=False),
    sa.Column("last_seen_at", sa.Float(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("address", sa.Text(), nullable=False),
    sa.Column("agent", sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(["person"], ["people.id"] ),
    sa.PrimaryKeyConstraint("secret_hash"),
    sa.UniqueConstraint("id")
    )
    op.create_index("sessions_person", "sessions", ["person"], unique=False)
    op.create_table("tokens",
    sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("client", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.Column("factor", sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(["client"], ["clients.id"] ),
    sa.PrimaryKeyConstraint("secret_hash"),
    sa.UniqueConstraint("id")
    )
    op.create_table("instances",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("study", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("series", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("sop_instance_uid", sa.Text(), nullable=False),
    sa.Column("sop_class_uid", sa.Text(), nullable=False),
    sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
    sa.Column("instance_number", sa.Text(), nullable=False),
    sa.Column("rows", sa.Integer(), nullable=True),
    sa.Column("columns", sa.Integer(), nullable=True),
    sa.Column("bits_allocated", sa.Integer(), nullable=True),
    sa.Column("frames", sa.Integer(), nullable=False),
    sa.Column("object_name", sa.Text(), nullable=False),
    sa.Column("length", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("dataset_offset", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("pixel_offset", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("digest", sa.LargeBinary(), nullable=False),
    sa.Column("source", sa.Text(), nullable=False),
    sa.Column("received_at", sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(["series"], ["series.id"] ),
    sa.ForeignKeyConstraint(["study"], ["studies.id"] ),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("object_name"),
    sa.UniqueConstraint("sop_instance_uid")
    )
    op.create_index("instances_series", "instances", ["series"], unique=False)
    op.create_index("instances_study", "instances", ["study"], unique=False)
    op.execute("INSERT INTO ledger_head (id, size, edge) VALUES (0, 0, X'')")
    op.execute("INSERT INTO epoch (id, value) VALUES (0, 1)")
