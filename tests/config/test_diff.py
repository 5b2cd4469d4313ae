from appliance.config.diff import Difference, difference, digest_of, in_effect
from appliance.config.schema import Backend, Config, Key, Model, Provider, Runtime, Server, Usage
from appliance.config.units import Seconds


def config(*, listen: str = "127.0.0.1:1", keys: str = "ab", keep: float = 5, context: int = 1) -> Config:
    return Config(
        server=Server(listen=listen),
        keys=tuple(Key(name=name, hash=f"sha256:{name}") for name in keys),
        runtimes=(Runtime(name="m", engine="llama.cpp", model="/m", context=context),),
        backends=(Backend(name="b", engine="openai", url="http://b"),),
        models=(Model(name="x", targets=("m",)),),
        usage=Usage(keep=Seconds(keep)),
    )


def test_nothing_differs() -> None:
    assert difference(config(), config()) == Difference()


def test_what_was_added_and_what_was_removed() -> None:
    assert difference(config(keys="ab"), config(keys="bc")).keys == ("a", "c")


def test_what_changed_is_named_and_what_did_not_is_not() -> None:
    new = Config(
        backends=(Backend(name="b", engine="openai", url="http://c"),), models=(Model(name="x", targets=("m", "n")),)
    )
    found = difference(Config(backends=config().backends, models=config().models), new)
    assert (found.backends, found.models, found.keys, found.restart) == (("b",), ("x",), (), ())


def test_settings_of_the_server_want_a_restart_and_keep_their_old_values_until_then() -> None:
    old, new = config(), config(listen="127.0.0.1:2", keep=6, keys="z")
    assert (difference(old, new).restart, difference(old, new).settings) == (("server.listen",), ("usage.keep",))
    now = in_effect(old, new)
    assert (now.server.listen, float(now.usage.keep), [key.name for key in now.keys]) == ("127.0.0.1:1", 6.0, ["z"])
    assert difference(now, new) == Difference(restart=("server.listen",))


def test_some_settings_of_the_server_change_at_once() -> None:
    old, new = Config(server=Server(listen="a:1")), Config(server=Server(listen="b:1", queue=3, circuit_failures=0))
    found = difference(old, new)
    assert (found.settings, found.restart) == (("server.queue", "server.circuit_failures"), ("server.listen",))
    now = in_effect(old, new)
    assert (now.server.listen, now.server.queue, now.server.circuit_failures) == ("a:1", 3, 0)


def test_runtimes_are_the_supervisors_to_judge() -> None:
    assert difference(config(), config(context=2)) == Difference()
    assert in_effect(config(), config(context=2)).runtimes[0].context == 2


def test_providers_change_at_once() -> None:
    old, new = Config(), Config(providers=(Provider(name="openai"),))
    assert difference(old, new) == Difference(providers=("openai",))
    assert in_effect(old, new).providers == new.providers


def test_a_digest_tells_one_configuration_from_another() -> None:
    assert digest_of(config()) == digest_of(config())
    assert len({digest_of(config()), digest_of(config(context=2)), digest_of(Config())}) == 3
    assert len(digest_of(config())) == 12


def test_nothing_of_a_digest_comes_from_a_secret() -> None:
    def made(secret: str, flag: str = "--port") -> Config:
        return Config(
            keys=(Key(name="a", hash=f"sha256:{secret}"),),
            runtimes=(
                Runtime(name="m", engine="llama.cpp", model="/m", env={"HF_TOKEN": secret}, args=("--api-key", secret)),
                Runtime(name="n", engine="command", command=("x", flag, "1")),
            ),
            models=(Model(name="x", targets=("m",), forced={"api_key": secret}),),
            backends=(Backend(name="b", engine="openai", url=f"http://u:{secret}@b"),),
        )

    assert digest_of(made("one")) == digest_of(made("other"))
    assert digest_of(made("one")) != digest_of(made("one", "--host"))
