"""Roles are read from the four phrasings, and never from anything else."""

from __future__ import annotations

import pytest

from services.labs.demands import STYLES
from services.labs.needs import phrase, spoken
from services.labs.roles import RoleExtractor
from services.labs.sample import FULL, Sample, Size, clusters
from services.labs.trades import PLACES, TRADES


class Scripted:
    """Answers with one role and counts how often it was asked."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def role(self, text: str) -> str:
        self.asked.append(text)
        return self.answer


@pytest.mark.requirement("R2")
@pytest.mark.parametrize("style", STYLES)
def test_every_question_of_the_sample_tells_its_role_in_every_phrasing(style: str) -> None:
    extractor = RoleExtractor()
    sample = Sample.draw(Size(workers=300, ethereal=300, per_category=len(TRADES)), 3)
    for query, need in sample.queries():
        text = phrase(need, style)
        assert extractor.by_pattern(text) in (spoken(need.role).lower(), f"{spoken(need.role).lower()}s"), query.id


@pytest.mark.requirement("R2")
@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("Need 3 Forklift Operators in Detroit, MI at 6 am for Beacon Freight", "forklift operators"),
        ("Beacon Freight in Detroit needs 2 CNC Operators starting Monday", "cnc operators"),
        ("Looking for 4 Pickers at Beacon Freight", "pickers"),
        ("looking for an experienced QA inspector around Toledo, Ohio: 5+ years", "qa inspector"),
        ("Detroit MI, forklift operator, OSHA-30, 5+ yrs, asap", "forklift operator"),
        ("OH, 2 nursing assistant, CPR", "nursing assistant"),
        ("3 forklift operator Toledo OH", "forklift operator"),
        ("We need a welder", "welder"),
    ],
)
def test_requests_as_people_write_them(text: str, role: str) -> None:
    assert RoleExtractor().by_pattern(text) == role


@pytest.mark.requirement("R2")
def test_shorthand_in_capitals_is_cut_only_where_a_place_is_known() -> None:
    text = "3 Forklift Operator Grand Rapids MI"
    assert RoleExtractor().by_pattern(text) == ""
    assert RoleExtractor(places=["Grand Rapids"]).by_pattern(text) == "forklift operator"


@pytest.mark.requirement("R2")
@pytest.mark.parametrize("text", ["Who can work nights?", "hazmat and cold storage", "", "OSHA-30", "42"])
def test_what_fits_no_pattern_has_no_role(text: str) -> None:
    assert RoleExtractor(places=["Detroit"]).by_pattern(text) == ""


@pytest.mark.requirement("R2")
async def test_a_fallback_is_asked_only_without_a_pattern_and_once_for_a_text() -> None:
    fallback = Scripted("  Night  Picker ")
    extractor = RoleExtractor(fallback=fallback)
    assert await extractor.role("Need a welder in Toledo, OH") == "welder"
    assert fallback.asked == []
    for _ in range(3):
        assert await extractor.role("Who can work nights?") == "night picker"
    assert fallback.asked == ["Who can work nights?"]
    assert await RoleExtractor().role("Who can work nights?") == ""


@pytest.mark.requirement("R2")
@pytest.mark.parametrize("style", STYLES)
def test_roles_at_one_place_are_told_apart_in_every_phrasing(style: str) -> None:
    extractor = RoleExtractor(places=[place.city for place in PLACES])
    for cluster in clusters(Sample(size=FULL, seed=7, roster={}), 6):
        roles = [extractor.by_pattern(phrase(need, style)) for need in cluster.needs]
        assert len(set(roles)) == len(roles)
        assert all(roles)
