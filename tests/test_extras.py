import math

import pytest

from attribot.extras import import_extra


def test_gives_the_module() -> None:
    assert import_extra("math", "baselines") is math


def test_names_the_extra_that_brings_a_missing_package() -> None:
    with pytest.raises(ImportError, match=r"no_such_module .* pip install 'attribot\[baselines\]'"):
        import_extra("no_such_module", "baselines")
