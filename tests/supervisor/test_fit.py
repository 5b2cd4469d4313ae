from dataclasses import replace
from typing import Any

import pytest

from appliance.domain.gpus import Gpu, Holder
from appliance.domain.orders import Change
from appliance.domain.status import ReplicaState
from appliance.supervisor.box import View
from appliance.supervisor.fit import with_fit

S = ReplicaState
GIB = 2**30


def gpu(index: int = 0, free: int = 24, **facts: Any) -> Gpu:
    return Gpu(index, f"GPU-{index}", "RTX", 24 * GIB, (24 - free) * GIB, free * GIB, **facts)


def wish(name: str = "x", need: int = 12, **facts: Any) -> View:
    return View(name, facts.pop("runtime", name), S.STOPPED, 0.0, asked=1, need=need * GIB, **facts)


def there(name: str = "a", need: int = 20, **facts: Any) -> View:
    return View(name, name, facts.pop("state", S.READY), 0.0, need=need * GIB, **({"gpus": (0,)} | facts))


def told(*wishes: View, views: tuple[View, ...] = (), gpus: tuple[Gpu, ...] = (gpu(),), remove: str = "") -> list[str]:
    names = dict.fromkeys(one.runtime for one in wishes)
    changes = [Change(name, "remove", (), "ends") for name in remove]
    changes += [Change(name, "add", (), "comes") for name in names]
    by_name = {name: [one for one in wishes if one.runtime == name] for name in names}
    return [change.detail for change in with_fit(changes, by_name, views, gpus)]


def test_what_fits_says_where() -> None:
    assert told(wish(), gpus=(gpu(0, 4), gpu(1))) == ["comes; fits on GPU 1 now"]
    assert told(wish(choices=(0, 1)), gpus=(gpu(0), gpu(1))) == ["comes; fits on GPUs 0, 1 now"]
    assert told(wish(choices=())) == ["comes; it needs no GPU"]


def test_who_would_have_to_go_is_named_with_what_it_does() -> None:
    assert told(wish(), views=(there(),), gpus=(gpu(free=4),)) == [
        "comes; fits on GPU 0 when these have gone: a (idle)"
    ]
    assert told(wish(), views=(there(busy=2),), gpus=(gpu(free=4),)) == [
        "comes; fits on GPU 0 when these have gone: a (works)"
    ]
    rival = there(need=2, exclusive="big")
    assert told(wish(exclusive="big"), views=(rival,), gpus=(gpu(free=22),)) == [
        "comes; fits on GPU 0 when these have gone: a (idle)"
    ]


def test_what_does_not_fit_says_why() -> None:
    holder = Holder(7, "ann", "train.py", 20 * GIB)
    ((says),) = told(wish(), gpus=(gpu(free=4, holders=(holder,)),))
    assert says.startswith("comes; does not fit now: it needs 12.0 GiB of GPU memory, and GPU 0 has 4.0 GiB free")
    assert "ann, train.py" in says
    assert "a uses" in told(wish(), views=(there(pinned=True),), gpus=(gpu(free=4),))[0]
    assert "it can never fit" in told(wish(need=99))[0]


def test_what_goes_in_the_same_change_has_gone() -> None:
    assert told(wish(), views=(there(),), gpus=(gpu(free=4),), remove="a") == ["ends", "comes; fits on GPU 0 now"]


def test_what_comes_first_has_taken_its_room() -> None:
    first, second = told(wish("x"), wish("y", need=13))
    assert first == "comes; fits on GPU 0 now"
    assert second == "comes; fits on GPU 0 when these have gone: x (comes, too)"


def test_each_replica_has_its_place() -> None:
    two = [wish(f"m@{number}", 20, runtime="m", among=(0, 1)) for number in (1, 2)]
    assert told(*two, gpus=(gpu(0), gpu(1))) == ["comes; m@1 fits on GPU 0 now; m@2 fits on GPU 1 now"]


def test_memory_that_is_not_known_is_said_to_be() -> None:
    ((says),) = told(wish(need=0), views=(there(),), gpus=(gpu(free=4),))
    assert says.endswith("have gone: a (idle) (its memory is not known yet: it would have that for itself)")


@pytest.mark.parametrize("action", ["keep", "update", "remove"])
def test_what_starts_nothing_says_nothing(action: Any) -> None:
    change = Change("x", action, (), "words")
    assert with_fit([change], {"x": [wish()]}, [], [gpu()]) == [change]


def test_what_is_on_its_way_is_waited_for() -> None:
    going = replace(there(), state=S.STOPPING)
    assert told(wish(), views=(going,), gpus=(gpu(free=4),)) == [
        "comes; fits on GPU 0 soon: waits for the memory of a on GPU 0"
    ]
