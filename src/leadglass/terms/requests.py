"""What is asked: Action, Resource, Decision."""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Action", "Decision", "Resource", "ResourceKind"]


class Action(StrEnum):
    """Everything anyone can do here, as scope:resource:action. Closed, alphabetical, append with care.

    The policy decides each, the ledger records each, and guard tests fail when one lacks either.
    """

    AUDIT_READ = "audit:log:read"
    AUDIT_STUDY_READ = "audit:study:read"  # "who saw this"
    AUDIT_VERIFY = "audit:log:verify"
    CLIENT_ADD = "clients:client:add"
    CLIENT_LIST = "clients:client:list"
    CLIENT_REVOKE = "clients:client:revoke"
    CLIENT_TOKEN = "clients:client:token"  # noqa: S105 - the name of an action
    CONSOLE_USE = "console:page:use"  # pages that show nothing of a patient or a person
    DEVICE_ADD = "devices:device:add"
    DEVICE_ECHO = "devices:device:echo"  # we call it: C-ECHO
    DEVICE_ISSUE = "devices:device:issue"
    DEVICE_LIST = "devices:device:list"
    DEVICE_REVOKE = "devices:device:revoke"
    DICOM_VERIFY = "dicom:association:verify"  # C-ECHO
    HOLD_LIST = "archive:hold:list"
    HOLD_SET = "archive:hold:set"  # set or release a legal hold
    INSTANCE_COMMIT = "archive:instance:commit"  # storage commitment
    INSTANCE_REJECT = "archive:instance:reject"  # by a Key Object Selection
    INSTANCE_STORE = "archive:instance:store"
    KEY_STATUS = "keys:key:status"
    PERSON_ADD = "people:person:add"
    PERSON_CONFIRM = "people:person:confirm"
    PERSON_DISABLE = "people:person:disable"
    PERSON_ENROL = "people:person:enrol"  # a fresh one-time link
    PERSON_LIST = "people:person:list"
    REJECTION_LIFT = "archive:rejection:lift"
    RETENTION_LIST = "archive:retention:list"
    RETENTION_SET = "archive:retention:set"
    SELF_READ = "people:self:read"
    SELF_SIGN_IN = "people:self:sign-in"
    SELF_SIGN_OUT = "people:self:sign-out"
    STUDY_DELETE = "archive:study:delete"
    STUDY_EXPORT = "archive:study:export"  # a file to take away: ZIP with DICOMDIR
    STUDY_READ = "archive:study:read"
    STUDY_SEARCH = "archive:study:search"
    STUDY_SEND = "archive:study:send"  # C-MOVE to a registered device
    SYSTEM_CHECK = "system:home:check"  # doctor
    SYSTEM_SCRUB = "system:objects:scrub"
    SYSTEM_SERVE = "system:server:serve"  # start and stop
    TASK_LIST = "archive:task:list"
    TASK_SETTLE = "archive:task:settle"  # reconciliation: choose between two versions


class ResourceKind(StrEnum):
    """Kinds of thing an Action touches."""

    ARCHIVE = "archive"
    CLIENT = "client"
    DEVICE = "device"
    LEDGER = "ledger"
    PERSON = "person"
    STUDY = "study"
    SYSTEM = "system"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """The thing acted on, with the facts about it that policy may use."""

    kind: ResourceKind
    id: str = ""  # Study Instance UID, person id, AE title...; "" = all of the kind
    patient_id: str = ""
    facts: dict[str, str | int | bool] = field(default_factory=dict)  # study: see archive.index.study_facts


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the policy says; reason and rule are for the ledger and for `explain`, not for the asker."""

    is_permitted: bool
    rule: str  # the @id of the policy that decided, or "default-deny"
    reason: str  # one sentence
