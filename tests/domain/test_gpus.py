from appliance.domain.gpus import Holder


def test_a_holder_is_named_so_that_it_can_be_found() -> None:
    assert str(Holder(4711, "bob", "python train.py", 3 * 2**30)) == "pid 4711 (bob, python train.py, 3.0 GiB)"
