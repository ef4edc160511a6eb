"""What of an instance's metadata leaves under a Grant: the one place where fields that a reader may not see are taken out.

Prebuilt metadata is whole, and kept once for everybody. So whoever gives metadata asks here first: where nothing is withheld the
kept text goes out as it is; else each model is made anew and passes `fitted`.
"""

from typing import Any

from leadglass.terms import Grant

__all__ = ["fitted", "withheld"]


def withheld(grant: Grant) -> frozenset[str]:
    """Return the keys of elements (00100010) that this Grant keeps from its holder, at any depth. Nothing sets them yet."""
    return frozenset(str(grant.resource.facts.get("withheld", "")).split())


def fitted(model: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    """Return a DICOM JSON model without the elements `keys`, those inside of sequences too."""
    if not keys:
        return model
    return {key: _inside(entry, keys) for key, entry in model.items() if key not in keys}


def _inside(entry: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    if entry.get("vr") != "SQ" or "Value" not in entry:
        return entry
    return {**entry, "Value": [fitted(item, keys) for item in entry["Value"]]}
