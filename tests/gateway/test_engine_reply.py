from appliance.gateway.engine_reply import EngineReply, ReadAlready


async def test_a_body_that_is_here_already_is_given_once() -> None:
    reply: EngineReply = ReadAlready(404, [("content-type", "application/json")], b"gone")
    assert (reply.status, reply.ended) == (404, True)
    assert await reply.receive() == b"gone"
    assert await reply.receive() == b""


async def test_it_is_pumped_as_one_piece() -> None:
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    await ReadAlready(200, [], b"all").pump(take)
    assert taken == [b"all"]


async def test_it_is_read_up_to_a_limit_and_closing_forgets_it() -> None:
    assert await ReadAlready(200, [], b"12345").read(3) == b"123"
    reply = ReadAlready(200, [], b"12345")
    reply.interrupt()
    await reply.aclose()
    assert await reply.read(9) == b""
