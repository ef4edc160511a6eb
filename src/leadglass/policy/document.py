"""Read the policy files: the shipped set, then the site's own on top."""

from importlib import resources
from pathlib import Path

from leadglass.errors import Malformed
from leadglass.policy.decide import Policy

__all__ = ["load_policy", "shipped_schema", "shipped_texts"]

_MAX_BYTES = 1 << 20


def shipped_schema() -> str:
    """Return the schema that every rule is validated against."""
    return (resources.files("leadglass.policy") / "shipped" / "leadglass.cedarschema").read_text("utf-8")


def shipped_texts() -> dict[str, str]:
    """Return the shipped rules by file name."""
    return {"leadglass.cedar": (resources.files("leadglass.policy") / "shipped" / "leadglass.cedar").read_text("utf-8")}


def load_policy(site_dir: Path) -> Policy:
    """Return the shipped rules with those of `site_dir/*.cedar` on top.

    Raises: Malformed, naming the file; the server does not start on a policy that it does not understand.
    """
    texts = shipped_texts()
    for path in sorted(site_dir.glob("*.cedar")) if site_dir.is_dir() else []:
        if path.stat().st_size > _MAX_BYTES:
            raise Malformed(f"policy {path.name}: larger than 1 MiB.")
        texts["site/" + path.name] = path.read_text("utf-8")
    return Policy(texts, shipped_schema())
