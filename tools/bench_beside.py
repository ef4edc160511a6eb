"""The same work on Leadglass and on Orthanc, in turns, on this machine: the rows with ratios.

Leadglass has TLS (web), encryption at rest, policy and ledger on, as users have them; Orthanc stands in clear, without
a login, with the threads and socket options that make it fastest.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from bench_loads import Side, Study, archive, c_store, frames, metadata, new_study, stow, whole_study
from live_server import LiveServer
from orthanc_peer import Orthanc
from tls_limit import measure as tls_limit

__all__ = ["Row", "measure_beside"]

_ONE_ASSOCIATION = 120  # instances: Orthanc needs 40 ms for each
_FRAME_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of work: every run of both sides, and the ratio to reach."""

    what: str
    ours: list[float]
    peer: list[float]
    unit: str
    bar: float
    is_time: bool = False  # less is better
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better ours is, by the medians."""
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        return peer / ours if self.is_time else ours / peer

    @property
    def is_reached(self) -> bool:
        """Whether the ratio is at least what was asked for."""
        return self.ratio >= self.bar


def measure_beside(root: Path, *, rounds: int, is_quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Start both servers in `root`, measure each kind of work `rounds` times in turns, stop both.

    Args: is_quick: C-STORE of 1 and 4 associations, STOW-RS, study and frames, with fewer instances.
    """
    live = LiveServer(root)
    live.run("devices", "add", "CT1", "--host", "127.0.0.1")
    live.start()
    try:
        with Orthanc(root, HttpThreadsCount=50, KeepAlive=True, TcpNoDelay=True) as orthanc:
            turns = _Turns(_sides(live, orthanc), root, rounds=rounds, is_quick=is_quick, say=say)
            return [*turns.storing(), *turns.reading(), *([] if is_quick else turns.whole_answers())]
    finally:
        live.stop()


def _sides(live: LiveServer, orthanc: Orthanc) -> tuple[Side, Side]:
    script = live.script("bench")
    web = f"{live.url}/dicomweb"
    ours = Side(
        name="Leadglass", http=script, web=web, dicom_port=live.dicom_port, ae_title="LEADGLASS",
        headers={"Authorization": str(script.headers["Authorization"])},
        archive=lambda study: (f"{web}/studies/{study}", {"Accept": "application/zip"}))
    plain = requests.Session()
    plain.trust_env = False

    def zipped(study: str) -> tuple[str, dict[str, str]]:
        (known,) = plain.post(f"{orthanc.url}/tools/lookup", data=study).json()
        return f"{orthanc.url}{known['Path']}/archive", {}

    peer = Side(name="Orthanc", http=plain, web=f"{orthanc.url}/dicom-web", dicom_port=orthanc.dicom_port,
                ae_title=orthanc.ae_title, archive=zipped)
    return ours, peer


class _Turns:
    """The rounds: one after the other, ours and the peer's, so that a slow minute of the machine meets both."""

    def __init__(
        self, sides: tuple[Side, Side], root: Path, *, rounds: int, is_quick: bool, say: Callable[[str], None]
    ) -> None:
        self._sides = sides
        self._root = root
        self._rounds = rounds
        self._is_quick = is_quick
        self._count = 60 if is_quick else 300
        self._say = say
        self._read: Study = new_study(self._count)

    def _in_turns(
        self, what: str, measure: Callable[[Side, Study], float], *, unit: str, bar: float, count: int = 0, is_time: bool = False,
        prepare: Callable[[Side, Study], object] | None = None,
    ) -> Row:
        """Return the row of `measure`; with `count`, each round has a new study, that `prepare` may store first."""
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(self._rounds):
            self._say(f"{what}: {turn + 1} of {self._rounds}")
            study = new_study(count) if count else self._read
            for side, figures in zip(self._sides, found, strict=True):
                if prepare is not None:
                    prepare(side, study)
                figures.append(measure(side, study))
        return Row(what=what, ours=found[0], peer=found[1], unit=unit, bar=bar, is_time=is_time)

    def storing(self) -> list[Row]:
        """C-STORE and STOW-RS."""
        rows = []
        for associations, bar in ((1, 8.0), (4, 4.0)) if self._is_quick else ((1, 8.0), (4, 4.0), (16, 1.5)):
            rows.append(self._in_turns(
                f"C-STORE, {associations} association{'s' * (associations > 1)}",
                lambda side, study, k=associations: c_store(side, study, k), unit="instances/s", bar=bar,
                count=min(self._count, _ONE_ASSOCIATION) if associations == 1 else self._count))
        rows.append(self._in_turns("STOW-RS, 20 an upload", stow, unit="instances/s", bar=2.0, count=self._count))
        return rows

    def reading(self) -> list[Row]:
        """A study, and its frames."""
        for side in self._sides:
            stow(side, self._read)
        study = self._in_turns("Study by WADO-RS", whole_study, unit="MB/s", bar=1.0)
        limit = tls_limit()
        peer = statistics.median(study.peer)
        if peer > limit * 0.8:
            study = Row(what=study.what, ours=study.ours, peer=study.peer, unit=study.unit, bar=limit * 0.8 / peer,
                        note=f"80 % of what TLS gives here ({limit:.0f} MB/s): the peer in clear exceeds it")
        rates: tuple[list[float], list[float]] = ([], [])
        late: tuple[list[float], list[float]] = ([], [])
        for turn in range(self._rounds):
            self._say(f"Frames: {turn + 1} of {self._rounds}")
            for at, side in enumerate(self._sides):
                rate, p99 = frames(side, self._root, self._read, 3 if self._is_quick else _FRAME_SECONDS)
                rates[at].append(rate)
                late[at].append(p99)
        return [
            study,
            Row(what="Frames, 8 connections", ours=rates[0], peer=rates[1], unit="frames/s", bar=1.3),
            Row(what="Frames, p99", ours=late[0], peer=late[1], unit="ms", bar=2.0, is_time=True),
        ]

    def whole_answers(self) -> list[Row]:
        """Metadata of a study that was stored this moment, metadata again, and the ZIP."""
        first = self._in_turns("Metadata, first time", metadata, unit="ms", bar=5.0, is_time=True, count=self._count, prepare=stow)
        for side in self._sides:
            metadata(side, self._read)
        again = self._in_turns("Metadata, again", metadata, unit="ms", bar=20.0, is_time=True)
        return [first, again, self._in_turns("ZIP of the study", archive, unit="s", bar=20.0, is_time=True)]
