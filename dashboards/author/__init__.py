"""The dashboards as code: `make dashboards` writes dashboards/*.json from here, and a test holds them together.

    panels     how a panel of ours looks, once
    page       rows of panels, laid out, with the variables that every dashboard has
    overview, latency, keys, models, gpus, policy, ourselves    one dashboard each

What is shown are metrics of `appliance/docs/metrics.md`; how they are made does not belong here.
"""
