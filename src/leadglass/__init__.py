"""Leadglass: a PACS that a hospital may open to radiologists who read from home."""

__version__ = "0.1.0"
