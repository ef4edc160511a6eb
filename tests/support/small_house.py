"""A real house in this process: keys, encrypted index, archive, door. No server, no ports."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phantom import ct_slice, part10

from leadglass.access import ARCHIVE, House
from leadglass.compose.home import Home, init_home
from leadglass.settings import load
from leadglass.terms import Action, Assurance, Peer, Plane, Subject, SubjectKind


@contextmanager
def small_house(root: Path, **overrides: Any) -> Iterator[House]:
    """Give the house of a fresh home under `root`."""
    settings = load(root / "home", overrides)
    init_home(settings, hostname="localhost", key_source=f"file:{root / 'root.key'}")
    with Home.open(load(root / "home", overrides)).house() as house:
        yield house


def put(house: House, *datasets: Any) -> list[Any]:
    """Store data sets as the command line does; return the outcomes."""
    me = house.entrance.local("tester")
    grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
    staged = []
    for ds in datasets:
        intake = house.operations.intake(grant)
        intake.feed(ds if isinstance(ds, bytes) else part10(ds))
        staged.append(intake.finish())
    return house.operations.commit(grant, staged)


def reader(house: House) -> Subject:
    """Return the subject of a script that may read."""
    me = house.entrance.local("t")
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=60)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def subject(*roles: str, kind: SubjectKind = SubjectKind.PERSON, assurance: Assurance = Assurance.AAL2, plane: Plane = Plane.WEB,
            referring: str = "") -> Subject:
    """Return a subject as the entrance makes them, for questions to the policy."""
    return Subject(kind=kind, id=f"{kind}:test", name="test", roles=frozenset(roles), assurance=assurance, factors=(),
                   authenticated_at=0.0, session_id="s", peer=Peer(plane=plane, address="127.0.0.1"), referring_name=referring)


__all__ = ["ct_slice", "part10", "put", "reader", "small_house", "subject"]
