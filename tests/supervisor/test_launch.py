from appliance.supervisor.launch import Launch, flag, visible


def test_the_command_line_is_its_parts_in_order() -> None:
    launch = Launch((flag("binary", "/bin/x"), flag("slots", "-np", 4)), {})
    assert launch.argv == ("/bin/x", "-np", "4")


def test_a_launch_never_shows_its_variables() -> None:
    assert "s3cret" not in repr(Launch((flag("binary", "x"),), {"KEY": "s3cret"}))


def test_gpus_are_counted_as_the_driver_does_and_none_of_them_hides_all() -> None:
    assert visible((2, 0)) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "2,0",
        "HIP_VISIBLE_DEVICES": "2,0",
    }
    assert visible(())["CUDA_VISIBLE_DEVICES"] == ""
    assert visible(None) == {}
