"""Series: families by setting, everything else by kind; no two alike."""

from attribot.manifest import MethodInfo
from attribot.report.looks import KIND_LOOKS, looks_of
from attribot.report.series import Series, series_of
from tests.report.conftest import with_families
from tests.synthetic_run import manifest


def test_without_families_kinds_are_the_series() -> None:
    series = series_of(manifest())
    assert [(one.name, one.methods) for one in series] == [
        ("exact", ("loo_naive",)),
        ("trick", ("hierarchical",)),
        ("baseline", ("similarity",)),
    ]
    assert [(one.is_family, one.title) for one in series] == [
        *((False, "exact"), (False, "trick"), (False, "baseline"))
    ]
    assert looks_of(series) == KIND_LOOKS


def test_a_family_is_joined_and_names_what_differs() -> None:
    exact, family = series_of(with_families(manifest()))
    assert exact.methods == ("loo_naive",)
    assert family.methods == ("hierarchical", "similarity")
    assert family.settings == ("3 kept", "5 kept")
    assert family.is_joined
    assert family.title == "screen, exactly: 3, 5 kept"


def test_settings_are_told_as_they_are_where_nothing_can_be_shortened() -> None:
    def title(*labels: str) -> str:
        reference = manifest().methods["reference"]
        methods = {label: MethodInfo(label, "trick", "h", "racing") for label in labels}
        (series,) = series_of(manifest(naive=None, methods={"reference": reference, **methods}))
        return series.title

    assert title("racing") == "racing"
    assert title("racing, 1 place", "racing, 3 places") == "racing: 1 place, 3 places"
    assert title("racing, a, 1", "racing, b, 3") == "racing: a, 1; b, 3"
    assert title("racing", "racing, paragraph") == "racing: racing, paragraph"


def test_looks_differ() -> None:
    families = [Series(f"family {index}", ("m",), ("m",), is_family=True) for index in range(14)]
    kinds = [Series(kind, ("m",), ("m",), is_family=False) for kind in KIND_LOOKS]
    looks = looks_of([*families, *kinds])
    assert len(set(looks.values())) == len(looks) == 17
    # In greyscale, too, next to its neighbours.
    shapes = [(looks[one.name].marker, looks[one.name].filling == "#ffffff") for one in families]
    assert len(set(shapes)) == 14
