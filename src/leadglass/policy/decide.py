"""Decide: facts in, Decision out. Pure: no disk, no clock, no database.

The policies are Cedar text, validated against the schema before the first decision. Deny is the default, a forbid
beats every permit, and an evaluation error is a deny.
"""

import json
from typing import Any

import cedarpy

from leadglass.errors import Malformed
from leadglass.terms import Action, Decision, Resource, ResourceKind, Subject, SubjectKind

__all__ = ["Policy"]

_ENDLESS = 2**40
_CLOCK_SLACK = 5.0  # seconds
_ENTITY = {
    ResourceKind.ARCHIVE: "Archive", ResourceKind.CLIENT: "Client", ResourceKind.DEVICE: "Device",
    ResourceKind.LEDGER: "Ledger", ResourceKind.PERSON: "Person", ResourceKind.STUDY: "Study",
    ResourceKind.SYSTEM: "System",
}


class Policy:
    """A validated set of policies, parsed once (parsing at each call would cost 250 us)."""

    def __init__(self, texts: dict[str, str], schema: str) -> None:
        """Validate and keep `texts` (file name -> Cedar text) against `schema`.

        Raises: Malformed, naming the file and the fault; a rule without @id, or two with the same one.
        """
        rules: dict[str, Any] = {}
        says: dict[str, str] = {}
        for name, text in texts.items():
            try:
                document = json.loads(cedarpy.policies_to_json_str(text))
            except ValueError as e:
                raise Malformed(f"policy {name}: {e}") from e
            if document.get("templates"):
                raise Malformed(f"policy {name}: templates are not taken.")
            for rule in document["staticPolicies"].values():
                notes = rule.get("annotations", {})
                rule_id = notes.get("id", "")
                if not rule_id or rule_id in rules:
                    raise Malformed(f"policy {name}: every rule needs an @id of its own; see {rule_id or 'the one without'}.")
                rules[rule_id] = rule
                says[rule_id] = notes.get("says", "")
            outcome = cedarpy.validate_policies(text, schema)
            if not outcome.validation_passed:
                raise Malformed(f"policy {name}: " + "; ".join(str(e) for e in outcome.errors))
        self._says = says
        self._set = cedarpy.PolicySet.from_json_str(
            json.dumps({"staticPolicies": rules, "templates": {}, "templateLinks": []})
        )

    def decide(
        self, subject: Subject, action: Action, resource: Resource, *, site: str, now: float | None = None
    ) -> Decision:
        """Return what the policies say; at most 0.1 ms of CPU.

        Args: now: Unix seconds, from which the age of a person's sign-in counts; without it the age is without end.

        Ref: docs/reference/roles.md. Not done here: the record, see access/door.py step 2.
        """
        kind = _ENTITY[resource.kind]
        who = {"type": "Subject", "id": subject.id}
        what = {"type": kind, "id": resource.id}
        entities: list[dict[Any, Any]] = [
            {
                "uid": who,
                "attrs": {
                    "kind": str(subject.kind), "assurance": int(subject.assurance),
                    "referringName": subject.referring_name, "mayQueryInClear": subject.may_query_in_clear,
                },
                "parents": [{"type": "Role", "id": role} for role in sorted(subject.roles)],
            },
            {"uid": what, "attrs": _attributes(subject, resource), "parents": []},
        ]
        request = {
            "principal": who, "action": {"type": "Action", "id": str(action)}, "resource": what,
            "context": {"plane": str(subject.peer.plane), "site": site, "signInAge": _age(subject, now)},
        }
        result = cedarpy.is_authorized(request, self._set, entities)
        reasons = sorted(result.diagnostics.reasons)
        if result.diagnostics.errors:
            return Decision(is_permitted=False, rule="policy-error", reason="A rule could not be evaluated.")
        if result.allowed:
            return Decision(is_permitted=True, rule=reasons[0], reason=self._says[reasons[0]])
        if reasons:
            return Decision(is_permitted=False, rule=reasons[0], reason=self._says[reasons[0]])
        return Decision(is_permitted=False, rule="default-deny", reason="No rule permits it.")


def _age(subject: Subject, now: float | None) -> int:
    if subject.kind is not SubjectKind.PERSON:
        return 0
    # A proof from the future is none: whoever sets the clock back does not make old proofs fresh.
    if now is None or now < subject.authenticated_at - _CLOCK_SLACK:
        return _ENDLESS
    return max(0, int(now - subject.authenticated_at))


def _attributes(subject: Subject, resource: Resource) -> dict[str, Any]:
    """Return the attributes that the schema asks of the resource's entity type."""
    facts = resource.facts
    if resource.kind is ResourceKind.STUDY:
        return {
            "patientId": resource.patient_id,
            "modalities": [m for m in str(facts.get("modalities", "")).split("\\") if m],
            "referringName": str(facts.get("referring_name", "")),
            "receivedToday": bool(facts.get("received_today", False)),
            "site": str(facts.get("site", "")), "isOwn": bool(facts.get("is_own", False)),
        }
    if resource.kind is ResourceKind.PERSON:
        return {"isSelf": resource.id != "" and subject.id == f"person:{resource.id}"}
    return {}
