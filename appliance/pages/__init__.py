"""What is read rather than called: the documents at `/docs`, and the description of the API at `/openapi.json`.

    described   every route in words
    openapi     the route table, the error table and those words as an OpenAPI document
    schema      what requests are read into, as JSON schemas
    reference   that document as a page
    markdown    a document as HTML
    frame       the page around it, and the stylesheet
    site        the routes

Everything is made here, from files that are part of the program: no page asks any other server for anything, and none
runs a script. What does not belong here: the console, and anything that shows what a server does or knows.
"""
