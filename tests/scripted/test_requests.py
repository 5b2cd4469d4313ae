from appliance.scripted.requests import Parser


def test_bytes_become_requests_however_they_are_cut() -> None:
    raw = b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    parser, found = Parser(), []
    for index in range(0, len(raw), 7):
        found += parser.feed(raw[index : index + 7])
    assert [(one.method, one.path, one.body, one.keep_alive) for one in found] == [
        ("POST", "/a?b=1", b"hi", True),
        ("GET", "/", b"", False),
    ]
