"""Rendering parameters are parsed as PS3.18 8.3.5 says, bounded, and refused when they say something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import Malformed
from leadglass.web.dicomweb.rendering_parameters import KNOWN, parse_rendering


def test_what_is_asked_is_what_is_wanted() -> None:
    wanted = parse_rendering([("viewport", "512,256,,10,-100.5,"), ("window", "40,400,linear-exact"), ("quality", "75"),
                              ("annotation", "patient,technique"), ("iccprofile", "srgb"), ("charset", "utf-8"), ("accept", "image/png")])
    assert wanted == {"viewport": [512, 256, None, 10, -100.5, None], "window": [40, 400, "LINEAR_EXACT"], "quality": 75,
                      "annotation": ["patient", "technique"], "icc": "srgb"}
    assert parse_rendering([]) == {"viewport": None, "window": None, "quality": 90, "annotation": [], "icc": "no"}
    assert parse_rendering([("window", "40,400")])["window"] == [40, 400, "LINEAR"]
    assert parse_rendering([("window", "0.5,0.2,sigmoid")])["window"] == [0.5, 0.2, "SIGMOID"]


@pytest.mark.parametrize(("name", "value"), [
    ("window", "40"), ("window", "40,0"), ("window", "40,0.5"), ("window", "40,400,cubic"), ("window", "nan,1"), ("window", "1,inf"),
    ("window", "1,2,linear,4"), ("window", "1" * 40 + ",5"), ("window", ""), ("window", "1e300,5"),
    ("viewport", "512"), ("viewport", "0,5"), ("viewport", "99999999999,5"), ("viewport", "8193,5"), ("viewport", "-5,5"),
    ("viewport", "5,5,1"), ("viewport", "5,5,-1,0,5,5"), ("viewport", "5,5,0,0,0,5"), ("viewport", "5,5,0,0,x,5"), ("viewport", "٣,٣"),
    ("quality", "0"), ("quality", "101"), ("quality", "high"), ("quality", "5.5"),
    ("annotation", "everything"), ("annotation", "patient,"), ("annotation", "patient,technique,patient"),
    ("iccprofile", "adobergb"), ("presentationUID", "1.2.3"), ("script", "x"),
])
def test_what_is_wrong_is_refused(name: str, value: str) -> None:
    with pytest.raises(Malformed):
        parse_rendering([(name, value)])


def test_twice_is_refused() -> None:
    with pytest.raises(Malformed):
        parse_rendering([("quality", "5"), ("quality", "6")])


@given(st.lists(st.tuples(st.sampled_from(KNOWN), st.text("0123456789,.-einfaptchquls ", max_size=40)), max_size=4))
def test_any_text_is_bounded_or_refused(parameters: list[tuple[str, str]]) -> None:
    try:
        wanted = parse_rendering(parameters)
    except Malformed as e:
        assert not any(len(value) > 8 and value in str(e) for _, value in parameters)
        return
    assert 1 <= wanted["quality"] <= 100
    assert wanted["viewport"] is None or all(1 <= side <= 8192 for side in wanted["viewport"][:2])
