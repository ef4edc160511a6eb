"""How long a study is kept: rules by site and modality, legal holds, and the day on which each ends.

Days count from StudyDate; where there is none, or it lies in the future, from the receipt. Of several rules the most
specific wins; of equally specific ones, and of a study's several modalities, the longest. A change takes effect after
a grace of 24 h: until then the stricter of old and new holds. What is on hold is deleted by nobody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from leadglass.errors import Missing
from leadglass.storage import tables as t

__all__ = [
    "DAY", "GRACE_SECONDS", "SETTLE_DAYS", "Due", "Rule", "Rules", "due_of", "due_studies", "is_on_hold", "load_rules",
    "open_holds", "set_rule", "start_of",
]

DAY: Final = 86400.0
GRACE_SECONDS: Final = DAY
SETTLE_DAYS: Final = 30  # nothing is deleted by itself sooner after its receipt: a wrong StudyDate is seen first
_PAGE: Final = 2000
_CHUNK: Final = 500
_r, _h, _s = t.retention_rules.c, t.holds.c, t.studies.c


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule as it was set; `site` and `modality` may be "" for any."""

    site: str
    modality: str
    keep_days: int  # earlier nobody deletes
    delete_after_days: int | None  # None = never by itself
    set_by: str
    set_at: float
    effective_at: float
    is_removed: bool

    @property
    def name(self) -> str:
        """The rule in a few words, for messages and records."""
        return f"site {self.site or 'any'}, modality {self.modality or 'any'}"


@dataclass(frozen=True, kw_only=True)
class Due:
    """When a study's times end. `kept_until` 0 = no rule keeps it; `delete_at` None = never by itself."""

    kept_until: float
    delete_at: float | None
    counts_from: float
    is_from_receipt: bool
    rule: str = ""  # the one that keeps it longest


class Rules:
    """The rules at one moment."""

    def __init__(self, rows: "list[Rule]", now: float) -> None:
        """Args: rows: every rule ever set, oldest first.   now: Unix seconds."""
        self.now = now
        self.current: dict[tuple[str, str], Rule] = {}
        self.pending: dict[tuple[str, str], Rule] = {}
        for rule in rows:
            key = rule.site, rule.modality
            if rule.effective_at > now:
                self.pending[key] = rule
                continue
            self.pending.pop(key, None)
            self.current[key] = rule
        self.current = {k: r for k, r in self.current.items() if not r.is_removed}

    def due(self, *, site: str, modalities: "set[str]", study_date: str, received_at: float) -> Due:
        """Return the times of one study; `modalities` are those of all its series."""
        start, is_from_receipt = start_of(study_date, received_at, self.now)
        found = [self._days(site, m) for m in modalities or {""}]
        keep, rule = max(((keep, name) for keep, _, name in found), key=lambda pair: pair[0])
        ends = [delete for _, delete, _ in found]
        last = None if any(e is None for e in ends) else max(e for e in ends if e is not None)
        return Due(
            kept_until=start + keep * DAY if keep else 0.0, counts_from=start, is_from_receipt=is_from_receipt, rule=rule,
            delete_at=None if last is None else max(start + max(last, keep) * DAY, received_at + SETTLE_DAYS * DAY),
        )

    def _days(self, site: str, modality: str) -> tuple[int, int | None, str]:
        """Return (keep, delete after, rule) of one modality; the stricter of what holds and what is about to."""
        now, soon = self._of(self.current, site, modality), self._of({**self.current, **self.pending}, site, modality)
        keep, _, name = max(now, soon, key=lambda found: found[0])
        never = now[1] is None or soon[1] is None
        return keep, None if never else max(now[1] or 0, soon[1] or 0), name

    @staticmethod
    def _of(rules: "dict[tuple[str, str], Rule]", site: str, modality: str) -> tuple[int, int | None, str]:
        for keys in ([(site, modality)], [(site, ""), ("", modality)], [("", "")]):
            there = [rules[k] for k in keys if k in rules and not rules[k].is_removed]
            if there:
                longest = max(there, key=lambda r: r.keep_days)
                ends = [r.delete_after_days for r in there]
                last = None if any(e is None for e in ends) else max(e for e in ends if e is not None)
                return longest.keep_days, last, longest.name
        return 0, None, ""


def start_of(study_date: str, received_at: float, now: float) -> tuple[float, bool]:
    """Return (Unix seconds from which days count, whether that is the receipt)."""
    try:
        start = datetime(int(study_date[:4]), int(study_date[4:6]), int(study_date[6:8])).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return received_at, True
    return (start, False) if len(study_date) == 8 and start <= now else (received_at, True)


def load_rules(connection: sa.Connection, now: float) -> Rules:
    """Return the rules as they stand at `now`."""
    rows = connection.execute(sa.select(t.retention_rules).order_by(_r.id)).mappings()
    return Rules([Rule(**{k: v for k, v in row.items() if k != "id"}) for row in rows], now)


def set_rule(
    connection: sa.Connection, *, site: str, modality: str, keep_days: int, delete_after_days: int | None, set_by: str,
    now: float, is_removed: bool = False,
) -> Rule:
    """Write a rule, in the caller's transaction; it takes effect after the grace. Old rows stay as the history.

    Raises: Missing, when a rule is to be removed that is not there.
    """
    if is_removed:
        rules = load_rules(connection, now)
        pending = rules.pending.get((site, modality))
        if (site, modality) not in rules.current and (pending is None or pending.is_removed):
            raise Missing("no such rule. See: leadglass retention list")
    values: dict[str, Any] = {
        "site": site, "modality": modality, "keep_days": keep_days, "delete_after_days": delete_after_days,
        "set_by": set_by, "set_at": now, "effective_at": now + GRACE_SECONDS, "is_removed": is_removed,
    }
    connection.execute(sa.insert(t.retention_rules).values(**values))
    return Rule(**values)


def is_on_hold(connection: sa.Connection, study_uid: str) -> bool:
    """Return whether a legal hold on the study is open: nothing of it may be deleted, held versions included."""
    return bool(open_holds(connection, study_uid))


def open_holds(connection: sa.Connection, study_uid: str = "") -> list[dict[str, Any]]:
    """Return the open holds of a study, or all, oldest first."""
    query = sa.select(t.holds).where(_h.released_at.is_(None)).order_by(_h.id)
    if study_uid:
        query = query.where(_h.study_uid == study_uid)
    return [dict(row) for row in connection.execute(query).mappings()]


def due_of(connection: sa.Connection, rules: Rules, study: Any) -> Due:
    """Return the times of a study row."""
    return _due(rules, study, _modalities(connection, [study.id]))


def _due(rules: Rules, study: Any, modalities: dict[int, set[str]]) -> Due:
    return rules.due(site=study.site, modalities=modalities.get(study.id, set()), study_date=study.study_date,
                     received_at=study.received_at)


def _modalities(connection: sa.Connection, studies: list[int]) -> dict[int, set[str]]:
    """Return the modalities of all series, also of those that a note rejects: to reject images does not shorten their days."""
    e = t.series.c
    found: dict[int, set[str]] = {}
    for at in range(0, len(studies), _CHUNK):
        for row in connection.execute(
            sa.select(e.study, e.modality).where(e.study.in_(studies[at : at + _CHUNK])).distinct()
        ):
            found.setdefault(row.study, set()).add(row.modality)
    return found


def _may_be_due(horizon: float, fewest_days: int) -> "sa.ColumnElement[bool]":
    """Return a condition that holds for every study that may be due until `horizon`, and for few others."""
    last = horizon - fewest_days * DAY
    try:
        day = datetime.fromtimestamp(last).astimezone().strftime("%Y%m%d")
    except (ValueError, OverflowError, OSError):
        day = "99999999"
    return sa.and_(_s.received_at <= horizon - SETTLE_DAYS * DAY, sa.or_(_s.study_date <= day, _s.received_at <= last))


def due_studies(
    connection: sa.Connection, now: float, *, within_seconds: float = 0.0
) -> Iterator[tuple[Any, Due]]:
    """Give (study row, its times) of each study that deletes itself until `now` + `within_seconds`; holds not looked at."""
    rules = load_rules(connection, now)
    ends = [r.delete_after_days for r in rules.current.values() if r.delete_after_days is not None]
    if not ends:
        return
    last, horizon = 0, now + within_seconds
    query = sa.select(
        _s.id, _s.study_uid, _s.site, _s.modalities, _s.study_date, _s.received_at, _s.instance_count
    ).where(_may_be_due(horizon, min(ends)))  # the exact question is asked below, of these alone
    while True:
        rows = connection.execute(query.where(_s.id > last).order_by(_s.id).limit(_PAGE)).all()
        modalities = _modalities(connection, [row.id for row in rows])
        for row in rows:
            last = row.id
            due = _due(rules, row, modalities)
            if due.delete_at is not None and due.delete_at <= horizon:
                yield row, due
        if len(rows) < _PAGE:
            return
