"""The console at `/`: what happens on this box, for its administrators, in a browser.

    site        the routes: log in and out, pages, what is ordered on them, the live feed, style and script
    pages       what a page is, and what it is asked
    entry       who comes in: a key with the scope `admin` or a link that works once; refusals are slowed
    sessions    who is logged in, in memory; links                                                     pure
    guard       what a browser must send with an order, and what it may do with a page                 pure
    links       `/ops/v1/console/link`
    orders      what is ordered on the pages Now and Requests
    models      the page Models                     these four show what an order does before it is carried out
    keys        the page Keys and usage
    configuring the page Config
    connecting  the page Connect
    errands     orders that take a while
    reading     logs
    recently    the last events
    talking     the playground
    feed        live pages: made once a second for all who look
    pulse       the last minutes in figures, and the last requests                                     pure
    templating  templates to HTML
    views       what is shown on each page: snapshots in, values for a template out                    pure
    figures     numbers in words                                                                       pure
    sparkline   numbers as a small line                                                                pure

Add a page: write `templates/NAME.html` (it extends `frame.html`) and a function from `Asked` to the values that it
shows; then one line, `Page("NAME", "Title", values)`, in `_pages` of
`appliance/console_parts.py`. What can be ordered
on it are functions from `Asked` to `Done` or `Shown`, in its `actions`; their forms post to `/console/NAME/ACTION`
and begin with `{{ token() }}`. By then the frame has checked the session, the token and the origin. A refusal
(`GatewayError`, `OperatorError`) becomes a message on the page. Parts of a page that live (`templates/parts/…`) stand
in it as `{{ live("part") }}`, are named in `parts`, and get the values of `live`, which are the same for everybody: a
button in one belongs to the form outside it (`form="orders"`).

Templates escape what they are given. Nothing is inline, neither style nor script: the policy forbids it. What does
not belong here: finding anything out, and carrying an order out (`ops` and the rooms behind it do).
"""
