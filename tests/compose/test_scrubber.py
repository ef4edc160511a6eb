"""The pace of the scheduled scrub: no faster than it may, no burst for lost time, and an end when it is told."""

from leadglass.compose.scrubber import Pace


class World:
    """A clock that moves only when someone sleeps."""

    def __init__(self) -> None:
        self.now, self.slept, self.is_stopping = 0.0, 0.0, False

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.slept += seconds
        return self.is_stopping


def test_so_many_bytes_take_so_many_seconds() -> None:
    world = World()
    pace = Pace(20e6, world.wait, world.clock)
    assert all(pace(262_144) for _ in range(1000))
    assert 12.9 < world.now < 13.2  # 262 MB at 20 MB/s


def test_lost_time_is_not_made_up_for() -> None:
    world = World()
    pace = Pace(1e6, world.wait, world.clock)
    pace(100_000)
    world.now += 3600
    pace(100_000)
    world.slept = 0.0
    for _ in range(10):
        pace(1_000_000)
    assert world.slept > 9


def test_it_says_when_to_stop() -> None:
    world = World()
    pace = Pace(1e6, world.wait, world.clock)
    assert pace(1_000_000)
    world.is_stopping = True
    assert not pace(1_000_000)
