import shlex

from appliance.cli.trust import FILE, recipes


def test_every_recipe_is_for_the_same_file_and_fits_a_shell() -> None:
    found = recipes("https://box:1")
    assert len({recipe.client for recipe in found}) == len(found) >= 10
    for recipe in found:
        assert FILE in recipe.text
        if "Settings" not in recipe.text:
            assert shlex.split(recipe.text)
    assert any("https://box:1/healthz" in recipe.text for recipe in found)
