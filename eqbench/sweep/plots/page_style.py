"""How the page looks, on light and dark grounds and on paper, and the few lines of script that it has."""

from eqbench.plots import palette

TONES = (
    f":root {{ {palette.variables('light')} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {palette.variables('dark')} }} }}"
)
"""The colours of marks and lines."""
STYLE = """
:root { --ink: #1d1f23; --muted: #62666d; --grid: #e3e5e8; --paper: #ffffff; --raised: #f5f6f8; --accent: #2c6fbb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9eb; --muted: #a2a7af; --grid: #383c43; --paper: #17191d; --raised: #21242a; --accent: #7db3ee; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
.answer { background: var(--raised); border-left: 4px solid var(--muted); padding: .7rem 1rem; margin: 1rem 0; }
.answer h2 { margin: 0; }
.answer.yes { border-color: var(--accent); }
figure { margin: 0; }
figcaption, .missing, #trials > p { color: var(--muted); font-size: .9rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
@media screen and (max-width: 600px) {
  .picture { overflow-x: auto; }
  .picture svg { min-width: 40rem; }
}
svg * { stroke-linejoin: round; stroke-linecap: butt; }
[data-trial] { cursor: default; }
svg [data-trial].lit { filter: drop-shadow(0 0 2px var(--ink)) drop-shadow(0 0 3px var(--accent)); }
svg.lit [data-trial]:not(.lit) { opacity: .35; }
tr.lit { background: var(--raised); outline: 2px solid var(--accent); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; max-width: 28rem; }
td:nth-last-child(2) { min-width: 14rem; }
td.runs { font-family: monospace; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; }
tr.best td { font-weight: 600; }
th button { all: unset; cursor: pointer; font-weight: 600; white-space: nowrap; }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort="ascending"] button::after { content: " ▲"; }
th[aria-sort="descending"] button::after { content: " ▼"; }
@media print {
  :root { --ink: #000; --muted: #444; --grid: #ccc; --paper: #fff; --raised: #fff; }
  section { break-inside: avoid; }
  #trials { break-inside: auto; }
}
"""

SCRIPT = """
"use strict";
// A click on a heading sorts its column; empty cells stay last. Numbers are compared by data-key.
const body = document.querySelector("tbody");
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  document.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const compare = (a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
    const [x, y] = [Number(key(a)), Number(key(b))];
    const order = Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b), "en") : x - y;
    return down ? -order : order;
  };
  body.append(...[...body.rows].sort(compare));
}));
// Pointing at a trial marks it everywhere.
const light = (event, on) => {
  const found = event.target.closest?.("[data-trial]");
  if (!found) return;
  for (const each of document.querySelectorAll(`[data-trial="${found.dataset.trial}"]`)) {
    each.classList.toggle("lit", on);
    each.closest("svg")?.classList.toggle("lit", on);
  }
};
document.addEventListener("mouseover", (event) => light(event, true));
document.addEventListener("mouseout", (event) => light(event, false));
"""
