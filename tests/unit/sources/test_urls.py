"""Templates of files: dates, sites, places in the cache."""

import numpy as np

from stormda.config import Dates
from stormda.sources.urls import filled, is_url, local_name, moments

NOW = np.datetime64("2024-02-29T13:47:12", "s")


def dates(**of: str) -> Dates:
    return Dates.model_validate(of)


def test_a_pattern_of_days_names_a_day_once() -> None:
    period = dates(start="2023-12-31T22Z", end="2024-01-01T01Z")
    found = filled(["https://h/%Y/%j/{site}.nc"], period, ["A", "B"], NOW)
    assert found == [f"https://h/{day}/{site}.nc" for day in ("2023/365", "2024/001") for site in "AB"]
    assert filled(["https://h/%Y%m%d%H%M"], period, (), NOW)[0] == "https://h/202312312200"


def test_recent_ends_at_the_last_full_step() -> None:
    times = moments(dates(recent="6h", every="3h"), NOW)
    assert times.astype(str).tolist() == ["2024-02-29T06:00:00", "2024-02-29T09:00:00", "2024-02-29T12:00:00"]


def test_what_is_no_pattern_stays() -> None:
    period = dates(recent="1h")
    assert filled(["https://h/a%20b/%3A.nc", "near/%Y.nc"], None, (), NOW) == ["https://h/a%20b/%3A.nc", "near/%Y.nc"]
    assert filled(["https://h/a%20b.nc"], period, ["A"], NOW) == ["https://h/a%20b.nc"]
    assert filled(["x/{site}.nc"], period, (), NOW) == ["x/{site}.nc"]


def test_places_in_the_cache_stay_below_it() -> None:
    assert str(local_name("s3://bucket/2020/a.nc")) == "s3/bucket/2020/a.nc"
    for url in ("https://h//../../etc/passwd", "https://h:80/%2e%2e/x y", "https://../x", "s3://b/./../c"):
        place = local_name(url)
        assert not place.is_absolute() and ".." not in place.parts, url
    assert local_name("https://h/a b") != local_name("https://h/a_b")


def test_urls_are_no_paths() -> None:
    assert is_url("s3://b/k") and is_url("https://h/f") and not is_url("/data/a:b.nc") and not is_url("C:/x")
