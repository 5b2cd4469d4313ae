from appliance.domain.http import Ready, Reply, Request, lines_of


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


def test_headers_are_lines_that_nothing_inside_can_end() -> None:
    assert lines_of([]) == ""
    assert lines_of([("a", "1"), ("b", "x: y")]) == "a: 1\r\nb: x: y\r\n"
    assert lines_of([("a", "1\r\nset-cookie: b"), ("c", "\n\0")]) == "a: 1  set-cookie: b\r\nc:   \r\n"


def test_what_is_ready_stands_behind_the_rest() -> None:
    reply = Reply(200, [("a", "1")])
    assert reply.all_headers() == [("a", "1")]
    reply.ready = Ready([("b", "2"), ("c", "3")])
    assert reply.all_headers() == [("a", "1"), ("b", "2"), ("c", "3")]
    assert reply.headers == [("a", "1")]
    assert reply.ready.lines == "b: 2\r\nc: 3\r\n"
