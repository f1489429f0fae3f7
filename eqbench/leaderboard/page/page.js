// Sorting, filters, and the drawings of each task as they come into sight.

const rowsOf = (body) => [...body.rows];
const keyOf = (row, column) => row.cells[column].dataset.key ?? "";

// Empty cells stay last, and a loss with runs missing stays below complete ones unless losses are sorted by name.
const sortBy = (head) => {
  const heads = [...head.parentNode.children];
  const column = heads.indexOf(head);
  const first = column === 0 ? "ascending" : head.dataset.first ?? "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? other : first;
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const body = head.closest("table").tBodies[0];
  const compare = (a, b) => {
    if (column === 0) return keyOf(a, 0).localeCompare(keyOf(b, 0), "en");
    return Number(keyOf(a, column)) - Number(keyOf(b, column));
  };
  const missing = (row) => (column === 0 ? 0 : "incomplete" in row.dataset ? 1 : 0);
  const empty = (row) => (keyOf(row, column) === "" ? 1 : 0);
  const sign = direction === "ascending" ? 1 : -1;
  body.append(...rowsOf(body).sort((a, b) => empty(a) - empty(b) || missing(a) - missing(b) || sign * compare(a, b)));
};

const filters = document.querySelector(".filters");
const wanted = (loss, words) => {
  const name = loss.toLowerCase();
  const without = words.filter((word) => word.startsWith("-") && word.length > 1).map((word) => word.slice(1));
  const any = words.filter((word) => !word.startsWith("-"));
  return !without.some((word) => name.includes(word)) && (!any.length || any.some((word) => name.includes(word)));
};
const filter = () => {
  const words = document.getElementById("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const complete = document.getElementById("complete").checked;
  const task = document.getElementById("task")?.value ?? "";
  const losses = [new Set(), new Set()];
  for (const row of document.querySelectorAll("tr[data-loss]")) {
    const shown = wanted(row.dataset.loss, words) && !(complete && "incomplete" in row.dataset);
    row.hidden = !shown;
    losses[0].add(row.dataset.loss);
    if (shown && (!task || row.closest("section").id === task)) losses[1].add(row.dataset.loss);
  }
  for (const sheet of document.querySelectorAll("section.sheet")) sheet.hidden = task !== "" && sheet.id !== task;
  const filtered = words.length || complete || task;
  document.getElementById("found").textContent = filtered ? `${losses[1].size} of ${losses[0].size} losses` : "";
  for (const place of document.querySelectorAll(".drawings[data-drawn]")) draw(place);
};
// A link to a task that the filter hides shows it again.
const uncover = () => {
  const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
  if (!target?.hidden) return;
  document.getElementById("task").value = "";
  filter();
  target.scrollIntoView();
};

// -- drawings of a task ------------------------------------------------------------------------------------------

const MOST_NAMED = 8;
const legend = (dots) => element("ul", { class: "legend" }, ...dots.map((dot) => {
  const symbol = node("svg", { viewBox: "-8 -8 16 16", class: dot.tone, "aria-hidden": "true" }, mark(dot.shape, 0, 0, 5, { class: dot.hollow ? "dot hollow" : "dot" }));
  return element("li", {}, element("a", { href: dot.href, "data-open": dot.open }, symbol, dot.name));
}));
const tradeoff = (place, column, shown) => {
  if (!column.headAndTail) return null;
  const [head, tail] = column.headAndTail;
  const dots = shown.filter(([entry]) => present(entry.cells[head]?.[0]) && present(entry.cells[tail]?.[0])).map(([entry, position]) => {
    const [[x, dx, n], [y, dy]] = [entry.cells[head], entry.cells[tail]];
    const interval = (half) => (present(half) ? ` ± ${fixed(half)}` : "");
    return {
      name: entry.loss, series: entry.loss, tone: toneOf(entry.loss), shape: shapeOf(entry.loss), x, y, dx, dy,
      hollow: entry.loss === column.baseline, href: address(place, position), open: `${place}.${position}`,
      tip: `${entry.loss}: ${head} ${fixed(x)}${interval(dx)}\n${tail} ${fixed(y)}${interval(dy)}\nn = ${n}`,
    };
  });
  const many = dots.length > MOST_NAMED;
  const picture = plot({
    label: `${tail} against ${head} of each loss, ${column.title}`, x: `${head} (%), frequent classes`, y: `${tail} (%), rare classes`,
    dots: dots.map((dot) => ({ ...dot, plain: many })), width: 440, height: 290,
  });
  return figure(
    picture,
    many ? legend(dots) : "",
    "Rare classes against frequent ones; bars are 95 % intervals over seeds, hollow is the baseline.",
  );
};

const RATIO_CHARTS = 12;
const ratios = (column, shown) => {
  const drawable = shown.map(([entry]) => entry).filter((entry) => entry.ratios);
  if (!drawable.length) return null;
  const limits = ratioLimits(column, drawable);
  const cells = drawable.slice(0, RATIO_CHARTS).map((entry) => element(
    "figure",
    {},
    element("h4", {}, entry.loss),
    ratioChart(column, entry, limits) ?? "",
    element("figcaption", {}, entry.ratioSeeds),
  ));
  const rest = drawable.length > cells.length ? ` The first ${cells.length} of ${drawable.length} losses; a filter chooses others.` : "";
  return element(
    "div",
    {},
    element("h3", {}, "Accumulated gradient ratio, positive over negative, by class group"),
    element("div", { class: "figures" }, ...cells),
    element("p", { class: "quiet" }, `Medians over the classes of a group, geometric means over seeds; all on the same axes. The line at 1 is balance; below it, a group is pushed down more than up.${rest}`),
    groupLegend(column),
  );
};

const draw = (place) => {
  place.dataset.drawn = "";
  const index = Number(place.dataset.column);
  const column = data.columns[index];
  const visible = new Set([...place.parentNode.querySelectorAll("tr[data-loss]:not([hidden])")].map((row) => row.dataset.loss));
  const shown = column.entries.map((entry, position) => [entry, position]).filter(([entry]) => visible.has(entry.loss));
  const drawings = [tradeoff(index, column, shown), ratios(column, shown)].filter(Boolean);
  place.replaceChildren(...drawings);
};

// -- events ------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) {
    event.preventDefault();
    openPanel(...opener.dataset.open.split(".").map(Number), opener.dataset.metric);
  }
  const head = event.target.closest("section.sheet thead button")?.parentNode;
  if (head) sortBy(head);
  if (event.target.closest("nav a")) setTimeout(uncover);
});
filters.hidden = false;
filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("popstate", follow);
window.addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll(".drawings:not([data-drawn])")) draw(place);
});
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    if (!("drawn" in target.dataset)) draw(target);
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".drawings").forEach((place) => seen.observe(place));
filter(); // a browser may have kept what was typed
follow();
