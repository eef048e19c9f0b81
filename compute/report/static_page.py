"""`static_page`: an HTML page that runs no script and loads nothing, for documents and lessons."""

from __future__ import annotations

from compute.texts import in_html

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>nfold: {title}</title>
<style>
:root {{ color-scheme: light dark; --bad: #c1272d; --good: #00704f; --rule: #8884 }}
@media (prefers-color-scheme: dark) {{ :root {{ --bad: #ff7b72; --good: #56d4a0 }} }}
{style}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
IMAGES = "; img-src data:"  # those that are part of the page


def static_page(title: str, style: str, body: str, *, images: bool = False) -> str:
    """The page, as one text. title: escaped here. style: rules of CSS, which may use --bad, --good and --rule.

    body: HTML, as it is. images: whether it has images within it; the browser refuses them otherwise.
    """
    return PAGE.format(policy=POLICY + IMAGES * images, title=in_html(title), style=style, body=body)
