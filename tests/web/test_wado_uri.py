"""WADO-URI's parameters: each in its form, none ignored, and what contradicts is refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.errors import Malformed
from leadglass.web.dicomweb.wado_uri import parse_parameters, rendering_of

GOOD = {"requestType": "WADO", "studyUID": "1.2", "seriesUID": "1.3", "objectUID": "1.4"}
IMAGE: Any = SimpleNamespace(rows=200, columns=400)


def parse(**more: str) -> dict[str, str]:
    return parse_parameters(list({**GOOD, **more}.items()))


@pytest.mark.parametrize("more", [
    {}, {"contentType": "image/jpeg"}, {"windowCenter": "40", "windowWidth": "400"}, {"anonymize": "yes"}, {"transferSyntax": "1.2.840"},
    {"presentationUID": "1.5", "presentationSeriesUID": "1.6"}, {"rows": "1"},
])
def test_good_questions(more: dict[str, str]) -> None:
    assert parse(**more) == {**GOOD, **more}


@pytest.mark.parametrize("more", [
    {"requestType": "wado"}, {"requestType": ""}, {"studyUID": ""}, {"studyUID": "../x"}, {"seriesUID": "1.2\n"}, {"objectUID": "1" * 65},
    {"anonymize": "no"}, {"anonymize": ""}, {"Anonymize": "yes"}, {"windowCenter": "40"}, {"windowWidth": "40"}, {"presentationUID": "1.5"},
    {"presentationUID": "1.5", "presentationSeriesUID": "x"}, {"presentationUID": "1.5", "presentationSeriesUID": "1.6", "region": "0,0,1,1"},
    {"transferSyntax": "jpeg"}, {"unknown": "1"}, {"accept": "*/*"}, {"charset": "x" * 1025},
])
def test_bad_questions(more: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        parse(**more)


def test_a_parameter_stands_once() -> None:
    with pytest.raises(Malformed):
        parse_parameters([*GOOD.items(), ("studyUID", "1.2")])
    for name in GOOD:
        with pytest.raises(Malformed, match=name):
            parse_parameters([i for i in GOOD.items() if i[0] != name])


@pytest.mark.parametrize(("asked", "found"), [
    ({}, []), ({"windowCenter": "40", "windowWidth": "400"}, [("window", "40,400,linear")]), ({"imageQuality": "70"}, [("quality", "70")]),
    ({"rows": "100", "columns": "50"}, [("viewport", "50,100")]), ({"rows": "100"}, [("viewport", "8192,100")]),
    ({"region": "0.5,0,1,0.5"}, [("viewport", "200,100,200.0000,0.0000,200.0000,100.0000")]),
    ({"region": "0,0,0.25,1", "columns": "10"}, [("viewport", "10,8192,0.0000,0.0000,100.0000,200.0000")]),
    ({"annotation": "patient,technique"}, [("annotation", "patient,technique")]),
])
def test_the_same_wishes_in_the_words_of_wado_rs(asked: dict[str, str], found: list[tuple[str, str]]) -> None:
    assert rendering_of(asked, IMAGE, "image/jpeg") == found


@pytest.mark.parametrize("asked", [
    {"rows": "0"}, {"rows": "-1"}, {"columns": "9" * 12}, {"columns": "8193"}, {"rows": "1.5"}, {"rows": ""}, {"region": "0,0,1"}, {"region": "0,0,0,1"},
    {"region": "0.6,0,0.5,1"}, {"region": "0,0,1.1,1"}, {"region": "nan,0,1,1"}, {"region": "-1,0,1,1"}, {"region": "a,b,c,d"}, {"region": "inf,0,1,1"},
])
def test_wishes_that_are_no_numbers(asked: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        rendering_of(asked, IMAGE, "image/jpeg")


def test_quality_is_of_jpeg_alone() -> None:
    with pytest.raises(Malformed, match="imageQuality"):
        rendering_of({"imageQuality": "50"}, IMAGE, "image/png")


@given(st.dictionaries(st.sampled_from(["rows", "columns", "region", "windowCenter", "imageQuality", "annotation"]), st.text(max_size=30)))
def test_no_text_is_an_incident(asked: dict[str, str]) -> None:
    asked.setdefault("windowWidth", "1")
    asked.setdefault("windowCenter", "1")
    try:
        rendering_of(asked, IMAGE, "image/jpeg")
        parse(**asked)
    except Malformed:
        pass
