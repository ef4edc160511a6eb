"""Is the one who was proved some time ago still who they were? Asked when the epoch moves, and at each new grant."""

import json

import sqlalchemy as sa

from leadglass.storage import tables as t
from leadglass.terms import Subject, SubjectKind

__all__ = ["is_in_good_standing"]


def is_in_good_standing(connection: sa.Connection, subject: Subject, now: float) -> bool:
    """Return whether the session, device or token of `subject` is alive, with the same roles as when proved.

    A device that acts for a client is as good as both are.
    """
    if subject.acting_for is not None and not is_in_good_standing(connection, subject.acting_for, now):
        return False
    kind, _, name = subject.id.partition(":")
    if subject.kind is SubjectKind.PERSON:
        row = connection.execute(
            sa.select(t.sessions.c.state, t.sessions.c.expires_at, t.people.c.state.label("person"), t.people.c.roles)
            .join(t.people, t.people.c.id == t.sessions.c.person)
            .where(t.sessions.c.id == subject.session_id, t.people.c.id == name)
        ).first()
        return (
            row is not None and row.state == "active" and row.expires_at > now and row.person == "active"
            and frozenset(json.loads(row.roles)) == subject.roles
        )
    if subject.kind is SubjectKind.DEVICE:
        device = connection.execute(
            sa.select(t.devices.c.state, t.devices.c.role, t.devices.c.until).where(t.devices.c.ae_title == name)
        ).first()
        return (
            device is not None and device.state == "active" and {device.role} == subject.roles
            and (device.until is None or device.until > now)
        )
    if subject.kind is SubjectKind.CLIENT and "user-identity" in subject.factors:  # as long as its device's association
        client = connection.execute(sa.select(t.clients.c.state, t.clients.c.role).where(t.clients.c.id == name)).first()
        return client is not None and client.state == "active" and {client.role} == subject.roles
    if subject.kind is SubjectKind.CLIENT:
        token = connection.execute(
            sa.select(t.tokens.c.expires_at, t.clients.c.state, t.clients.c.role)
            .join(t.clients, t.clients.c.id == t.tokens.c.client)
            .where(t.tokens.c.id == subject.session_id, t.clients.c.id == name)
        ).first()
        return (
            token is not None and token.expires_at > now and token.state == "active" and {token.role} == subject.roles
        )
    return kind in {"local", "system"}
