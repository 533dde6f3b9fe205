"""Text that would be markup, and a page that has to be nothing but what this package writes."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ]]>--> &lt;&amp; javascript:alert(3) "
HOSTILE += "\0\x1b\u202e\u2066 \ud800 $x$"
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "main",
    "header",
    "h1",
    "h2",
    "h3",
    "section",
    "p",
    "div",
    "span",
}
TAGS |= {
    "dl",
    "dt",
    "dd",
    "small",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "br",
    "strong",
    "code",
    "picture",
    "source",
}
TAGS |= {"img", "figure", "figcaption", "a"}
ATTRIBUTES = {
    "lang",
    "charset",
    "name",
    "content",
    "http-equiv",
    "class",
    "data-label",
    "id",
    "href",
    "src",
    "srcset",
    "alt",
}
ATTRIBUTES |= {"media"}


class Page(HTMLParser):
    """The elements, attributes and text of a page; comments and the like are none of ours."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        assert {name for name, _ in attributes} <= ATTRIBUTES, attributes
        for name, value in attributes:
            if name in ("src", "srcset"):
                assert value.startswith("data:image/")
            if name == "href":
                assert value.startswith("#")
        self.tags.append(tag)
        self.texts += [value for name, value in attributes if name == "alt"]

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    unknown_decl = handle_pi = handle_comment
