from appliance.console.connecting import ConnectPages
from appliance.recipes import RECIPES
from tests.fakes.consoles import HOST, Desk, text


async def shown(query: str, models: list[str], url: str = "http://box:1") -> str:
    here = Desk(ConnectPages(url, lambda: models).page())
    await here.log_in()
    return text(await here.ask("GET", f"/console/connect{query}"))


async def test_what_to_paste_is_for_the_address_that_the_browser_uses() -> None:
    page = await shown("?client=codex&model=m", ["other", "m"])
    assert f"base_url = &#34;http://{HOST}/v1&#34;" in page
    assert "model = &#34;m&#34;" in page
    assert all(recipe.title.replace("'", "&#39;") in page for recipe in RECIPES.values())


async def test_without_a_choice_it_is_the_first_and_without_models_there_is_a_field() -> None:
    assert "curl -N" in await shown("?client=nothing", ["first", "m"])
    assert "&#34;model&#34;: &#34;first&#34;" in await shown("", ["first", "m"])
    assert '<input id="f-model"' in await shown("", [])
    assert "https://" in await shown("", ["m"], "https://box:1")
