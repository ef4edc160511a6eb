"""The console's rows of the route table."""

from leadglass.web.routes import Operation

__all__ = ["PAGES"]

PAGES: tuple[Operation, ...] = ()
