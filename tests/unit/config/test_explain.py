"""Each mistake gives one line: which key, what is wrong, what would be right."""

import pytest

from stormda.config import load
from stormda.errors import ConfigError

SCHEMA = "stormda config schema lists every key"
SOURCE = "observations.sources.synop"


@pytest.mark.parametrize(
    ("override", "key", "what", "hint"),
    [
        ("nmae=a", "nmae", "unknown key 'nmae'", "did you mean 'name'?"),
        ("history.foo=1", "history.foo", "unknown key 'foo'", "one of source, first, frames, max_age, archive_error"),
        (
            f"{SOURCE}={{kind: vobs, files: [a], prat: both}}",
            f"{SOURCE}.prat",
            "unknown key 'prat'",
            "did you mean 'part'?",
        ),
        (f"{SOURCE}={{kind: vobs}}", f"{SOURCE}.files", "'files' is not given", SCHEMA),
        (f"{SOURCE}={{files: [a]}}", SOURCE, "'kind' is not given", SCHEMA),
        (f"{SOURCE}={{kind: burf, files: [a]}}", SOURCE, "unknown kind 'burf'", "did you mean 'bufr'?"),
        (
            f"{SOURCE}={{kind: vobs, files: [a], errors: {{tt2m: 1}}}}",
            f"{SOURCE}.errors.tt2m",
            "unknown variable 'tt2m'",
            "did you mean 't2m'?",
        ),
        (
            f"{SOURCE}={{kind: vobs, files: [a], errors: {{t2m: {{instrument: -1}}}}}}",
            f"{SOURCE}.errors.t2m.instrument",
            "Input should be greater than 0 (it is -1)",
            SCHEMA,
        ),
        (
            "quality.static=[{check: rang}]",
            "quality.static.0.check",
            "'rang' is not possible here",
            "did you mean 'range'?",
        ),
        ("quality.static={check: range}", "quality.static", "a list is needed here (it is {'check': 'range'})", SCHEMA),
        ("quality.static=[{check: range, limit: 3}]", "quality.static.0", "the check 'range' has no `limit`", SCHEMA),
        (
            "quality.static=[{check: range, ranges: {t2m: [300, 200]}}]",
            "quality.static.0",
            "the range of t2m is empty: 300 to 200",
            SCHEMA,
        ),
        ("assimilate=3", "assimilate", "a section with keys is needed here (it is 3)", SCHEMA),
        ("assimilate.ensemble=many", "assimilate.ensemble", "Input should be a valid integer", SCHEMA),
        ("sampler.sigma_min=.nan", "sampler.sigma_min", "Input should be a finite number (it is nan)", SCHEMA),
        ("sampler={sigma_min: 2, sigma_max: 1}", "sampler", "sigma_min is not below sigma_max", SCHEMA),
        ("storm.heads=5", "storm", "the width 96 is not a multiple of 5 heads", SCHEMA),
        ("train.steps=0", "train", "no steps at all need weights to begin with", SCHEMA),
        ("train.history_error=[1, 0.1]", "train.history_error", "the range must be two positive numbers", SCHEMA),
        (
            "twin.cycles=3",
            "twin",
            "all 3 cycles are spin-up, nothing is left to score: lower twin.spin_up (20)",
            SCHEMA,
        ),
        ("twin.world={kind: sqg, pionts: 3}", "twin.world.pionts", "unknown key 'pionts'", "did you mean 'points'?"),
        ("twin.methods=[]", "twin.methods", "nothing is given", SCHEMA),
        ("quality.withhold.seeds=3..1", "quality.withhold.seeds", "nothing is given", SCHEMA),
        ("observations.before=0h", "observations", "the window (cycle - before, cycle + after] is empty", SCHEMA),
        (
            "observations.before=6 hours",
            "observations.before",
            "'6 hours' is not a duration",
            "write it as 6h, 90min or 1d",
        ),
        ("channels=[msl, msl]", "channels", "a channel is named twice", SCHEMA),
        ("channels=[]", "channels", "nothing is given", SCHEMA),
    ],
)
def test_what_is_said(override: str, key: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [override], {"channels": ["msl"]})
    assert error.value.what.startswith(what)
    assert (error.value.key, error.value.hint) == (key, hint)


def test_several_mistakes_are_counted_and_the_mistyped_key_comes_first() -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [f"{SOURCE}={{kind: vobs, fiels: [a]}}", "assimilate.ensemble=0"], {"channels": ["msl"]})
    assert error.value.what == "unknown key 'fiels' (and 2 more problems), on the command line"
