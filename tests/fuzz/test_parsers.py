"""Thousands of made-up inputs for each parser, in seconds; ``make fuzz`` tries a million."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.contract import Target, held_to_contract
from tests.fuzz.findings import FINDINGS
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", [target for target in TARGETS if target.cases], ids=lambda target: target.name)
def test_only_refusals_leave_a_parser_and_nothing_of_a_case_stays(target: Target) -> None:
    seeds = target.seeds()
    # By a seed: the strategies of hypothesis would take longer to make an input than the parser to read it.
    broken = st.integers(0, 2**48).map(lambda seed: mutated(seed, seeds, target.words, target.largest))
    with held_to_contract(target) as parse:

        @given(broken)
        @settings(max_examples=target.cases, deadline=None)
        def every(data: bytes) -> None:
            parse(data)

        every()


@pytest.mark.parametrize("name", sorted({finding.target for finding in FINDINGS}))
def test_what_was_found_once_is_mended(name: str) -> None:
    (target,) = (target for target in TARGETS if target.name == name)
    with held_to_contract(target) as parse:
        for finding in FINDINGS:
            if finding.target == name:
                print(finding.story)
                parse(finding.data)
