"""The web face: translate HTTP to door calls and back.

Trusts: access, for who may do what. Refuses: anything unproven, unbounded or cross-site; whole bodies in memory.
Each route is a row of `routes.table()` with an Action or a written reason to be public; a guard test walks them all.

    app = create_app(house, house.settings)      # an ASGI application, served by compose/workers.py
"""

from leadglass.web.app import create_app

__all__ = ["create_app"]
