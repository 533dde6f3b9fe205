"""The frame of the report's page: HTML and CSS without any contents. No scripts, nothing loaded from elsewhere.

A policy in the page forbids browsers both, whatever a name in a run's files might smuggle in.
"""

from string import Template

__all__ = ["PAGE"]

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #24292f; --soft: #57606a; --rule: #d8dde3;
        --panel: #f6f8fa; --accent: #0072b2; --warn: #9a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #dfe3e8; --soft: #9aa4af; --rule: #343b44; --panel: #1b2026; --accent: #56b4e9;
          --warn: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; font-weight: 650; }
h2 { margin: 3rem 0 .4rem; padding-top: .9rem; border-top: 1px solid var(--rule); font-size: 1.2rem; }
h3 { margin: 1.4rem 0 .4rem; font-size: 1rem; }
p { margin: .4rem 0; max-width: 46rem; }
.keep { white-space: nowrap; }
.soft, figcaption { color: var(--soft); }
.warn { color: var(--warn); font-weight: 600; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .86em; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem;
         margin: 1.4rem 0 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .8rem 1rem; }
.tiles dt { color: var(--soft); font-size: .86rem; }
.tiles dd { margin: 0; font-size: 1.75rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--soft); line-height: 1.35; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .9rem .5rem 0; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 500; font-size: .84rem; }
tbody th { font-weight: 600; }
a { color: inherit; text-decoration: none; }
th { overflow-wrap: normal; }
.plan td:nth-child(3), .plan td:nth-child(4) { overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem 1.5rem;
         align-items: start; margin: .8rem 0; }
.plots img { width: 100%; max-width: 34rem; height: auto; display: block; }
.wide { grid-template-columns: 1fr; }
.wide img { max-width: 58rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(28rem, 100%), 1fr)); gap: 1.4rem;
            margin: .8rem 0; }
figure { margin: 0; }
figure:target { grid-column: 1 / -1; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .35rem; }
.pair img { width: 100%; height: auto; display: block; border-radius: .25rem; }
figcaption { font-size: .84rem; margin-top: .35rem; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .pair { grid-template-columns: 1fr; }
  .plan thead { display: none; }
  .plan tr { display: block; padding: .8rem 0; border-bottom: 1px solid var(--rule); }
  .plan th, .plan td { display: block; border: 0; padding: .12rem 0; }
  .plan td { display: grid; grid-template-columns: 6.5rem 1fr; gap: .6rem; text-align: left; white-space: normal; }
  .plan td::before { content: attr(data-label); color: var(--soft); font-size: .84rem; } }
"""

# Filled by html.py; every value is HTML already.
PAGE = Template(
    f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
$introduction
</header>
$sections
</main>
</body>
</html>
"""
)
