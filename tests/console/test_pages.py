from appliance.console.pages import Page, nothing
from tests.console.test_entry import REQUEST


def test_the_first_page_is_at_the_root() -> None:
    assert Page("now", "Now").address == "/"
    assert Page("keys", "Keys").address == "/console/keys"


async def test_a_page_may_have_nothing_to_show() -> None:
    assert await nothing(REQUEST) == {}  # type: ignore[arg-type]
