"""What may be done, by whom, to what: a pure function of facts and Cedar rules.

Trusts: the facts handed in by access. Refuses: rules that do not validate against the schema, rules without an
@id, and everything that no rule permits.

    policy = load_policy(settings.policies_dir)
    decision = policy.decide(subject, Action.STUDY_READ, resource, site="main")
"""

from leadglass.policy.decide import Policy
from leadglass.policy.document import load_policy, shipped_schema, shipped_texts

__all__ = ["Policy", "load_policy", "shipped_schema", "shipped_texts"]
