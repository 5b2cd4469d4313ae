import io
import tarfile
from pathlib import Path

from appliance.config.schema import Config
from appliance.diagnosis.bundle import log_parts, own_parts, packed, system_parts
from appliance.diagnosis.redaction import LEFT_OUT, Redaction


def test_it_is_one_directory_of_private_files() -> None:
    data = packed({"b/c.txt": "two", "a.txt": "one"}, 1_800_000_000.0)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [
            "appliance-bundle-20270115T080000Z/a.txt",
            "appliance-bundle-20270115T080000Z/b/c.txt",
        ]
        assert {member.mode for member in archive} == {0o600}
        file = archive.extractfile(archive.getnames()[0])
        assert file is not None
        assert file.read() == b"one"


def test_the_ends_of_logs_are_in_it_and_what_clients_asked_is_not(tmp_path: Path) -> None:
    lines = [f"slot {number}" for number in range(60_000)] + ["the middle of a prompt", "srv  stop"]
    (tmp_path / "m@1.log").write_text("\n".join(lines))
    (tmp_path / "empty.log").touch()
    found = log_parts(tmp_path, Redaction())
    assert set(found) == {"logs/m@1.txt", "logs/empty.txt"}
    told = found["logs/m@1.txt"].splitlines()
    assert len(told) == 500
    assert told[-3:] == ["slot 59999", LEFT_OUT, "srv  stop"]
    assert log_parts(tmp_path / "none", Redaction()) == {}


def test_without_a_server_and_without_a_configuration_the_rest_is_there() -> None:
    assert set(own_parts("1", None, [], None, "", Redaction())) == {"README.txt", "version.txt", "doctor.json"}
    whole = own_parts("1", Config(), [], {"replicas": []}, "up 1\n", Redaction())
    assert {"config.json", "state.json", "metrics.txt"} <= set(whole)


def test_programs_that_are_not_there_leave_nothing_behind() -> None:
    found = system_parts(Redaction())
    assert all(found.values())
    assert "versions.json" in found
