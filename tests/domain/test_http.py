from appliance.domain.http import Reply, Request


class NoBody:
    async def read(self, limit: int) -> bytes:
        return b""


def test_the_first_of_several_headers_counts() -> None:
    request = Request("GET", "/", "", [("a", "1"), ("b", "2"), ("a", "3")], "", NoBody())
    assert request.header("a") == "1"
    assert request.header("c") is None


def test_replies_do_not_share_headers() -> None:
    Reply(200).headers.append(("a", "1"))
    assert Reply(200).headers == []
