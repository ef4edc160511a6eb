"""Who asks, and over what: Peer (proved by the network) and Subject (proved by identity)."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = ["Assurance", "Peer", "Plane", "Role", "Subject", "SubjectKind"]


class Plane(StrEnum):
    """The face through which a request came."""

    WEB = "web"
    DIMSE = "dimse"
    DIMSE_TLS = "dimse-tls"
    LOCAL = "local"  # command line and chores


class SubjectKind(StrEnum):
    """What kind of thing acts."""

    PERSON = "person"
    DEVICE = "device"  # an application entity: modality, workstation, PACS
    CLIENT = "client"  # a script, by private_key_jwt
    LOCAL = "local"  # the operating system's user at the command line
    SYSTEM = "system"  # chores


class Role(StrEnum):
    """Roles that ship; the policy files say what each may do."""

    ADMINISTRATOR = "administrator"
    RADIOLOGIST = "radiologist"
    REFERRING = "referring"
    TECHNOLOGIST = "technologist"
    PRIVACY_OFFICER = "privacy-officer"
    SECURITY_OFFICER = "security-officer"
    RESEARCHER = "researcher"
    MODALITY = "modality"
    WORKSTATION = "workstation"
    PACS = "pacs"
    SERVICE = "service"
    OPERATOR = "operator"  # local subjects: the command line
    CHORE = "chore"  # system subjects


class Assurance(IntEnum):
    """How sure we are. Interactive sessions are AAL2 or AAL3; there is no AAL1 (SP 800-63B-4)."""

    DEVICE = 1  # an application entity by title and address or certificate
    AAL2 = 2
    AAL3 = 3


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What the network proved about the other end of the wire."""

    plane: Plane
    address: str  # numeric IP address, or "" for local
    certificate_sha256: str | None = None
    tunnel_peer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who acts, with what certainty. Made only by access/entrance.py."""

    kind: SubjectKind
    id: str  # opaque and stable: "person:<hex>", "device:<AE>", "client:<hex>", "local:<os user>", "system:<chore>"
    name: str  # login name, AE title, client name; may be shown in the ledger
    roles: frozenset[str]
    assurance: Assurance
    factors: tuple[str, ...]  # "passkey", "password", "totp", "ae-title", "certificate", "private_key_jwt", "os-user"
    authenticated_at: float  # Unix seconds
    session_id: str  # random handle of the session, association or token; never the secret itself
    peer: Peer
    may_query_in_clear: bool = False  # a device with an owner and a last day: a dated exception to DICOM over TLS
    acting_for: "Subject | None" = None  # a device that acts for a client: both must be permitted whatever is done
    referring_name: str = ""  # for role referring: the name as it stands in ReferringPhysicianName, normalised
