"""`make dashboards`: write every dashboard beside this folder, and the table of all metrics in the documents."""

from pathlib import Path

from dashboards.author import gpus, keys, latency, models, ourselves, overview, policy, reference

PAGES = (overview.PAGE, latency.PAGE, keys.PAGE, models.PAGE, gpus.PAGE, policy.PAGE, ourselves.PAGE)
FOLDER = Path(__file__).resolve().parent.parent


def main() -> None:
    """Write them."""
    for page in PAGES:
        (FOLDER / f"{page.name}.json").write_text(page.json(), encoding="utf-8")
    reference.PAGE.write_text(reference.renewed(reference.PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
