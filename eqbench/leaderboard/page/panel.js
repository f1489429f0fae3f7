// The runs behind a number: their numbers, curves, configuration and where they come from.

const dialog = document.getElementById("panel");
const signed = (value) => (present(value) ? `${value > 0 ? "+" : ""}${fixed(value)}` : "–");
const probability = (value) => (!present(value) ? "–" : value < 0.001 ? "< 0.001" : value.toFixed(3));
const written = (value) => (typeof value === "string" ? value : present(value) ? JSON.stringify(value) : "–");

const table = (caption, heads, rows, marked = -1) => element(
  "div",
  { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
  element(
    "table",
    {},
    element("caption", {}, element("span", {}, caption)),
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map(([first, ...rest], place) => element(
      "tr",
      place === marked ? { class: "asked", "aria-current": "true" } : {},
      element("th", { scope: "row" }, first),
      ...rest.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : element("td", {}, cell))),
    ))),
  ),
);
const pairs = (title, entries, open) => entries.length
  ? element("details", open ? { open: "" } : {}, element("summary", {}, title), table(title, ["name", "value"], entries))
  : null;

const summary = (column, entry, metric) => {
  const names = column.metrics.filter((name) => entry.cells[name]?.[2]);
  const rows = names.map((name) => {
    const [mean, half, n, change, changeHalf, paired, p, holm, significant] = entry.cells[name];
    const own = `${fixed(mean, 2)}${present(half) ? ` ± ${fixed(half, 2)}` : ""}`;
    const moved = present(change) ? `${signed(change)}${present(changeHalf) && present(p) ? ` ± ${fixed(changeHalf)}` : ""}${significant ? " *" : ""}` : "–";
    return [name, own, String(n), moved, present(paired) ? String(paired) : "–", probability(p), probability(holm)];
  });
  const heads = ["metric (%)", "mean ± 95 %", "n", `against ${column.baseline ?? "the baseline"}`, "pairs", "p", "p (Holm)"];
  return table("All metrics", heads, rows, names.indexOf(metric));
};

const COSTS = { seconds_per_step: ["ms/step", 1000, 1], peak_memory_mb: ["peak MB", 1, 0], train_seconds: ["training s", 1, 0] };
const runTable = (column, entry) => {
  const metrics = column.metrics.map((name, place) => [name, place]).filter(([, place]) => entry.runs.some((run) => present(run.metrics?.[place])));
  const costs = Object.keys(COSTS).filter((name) => entry.runs.some((run) => typeof run.cost?.[name] === "number"));
  const row = (run) => [
    `s${run.seed}`,
    element("td", run.reason ? { class: "words" } : {}, run.reason ?? "finished"),
    ...metrics.map(([, place]) => fixed(run.metrics?.[place], 2)),
    ...costs.map((name) => fixed(typeof run.cost?.[name] === "number" ? run.cost[name] * COSTS[name][1] : null, COSTS[name][2])),
    run.ended ?? "–",
    element("code", {}, run.id),
  ];
  return table("Runs", ["seed", "status", ...metrics.map(([name]) => name), ...costs.map((name) => COSTS[name][0]), "ended", "run"], entry.runs.map(row));
};

const configuration = (column, entry) => element(
  "div",
  {},
  element("h3", {}, "Configuration"),
  pairs("Loss", Object.entries(entry.config).map(([name, value]) => [name, written(value)]), true),
  entry.differs.length && entry.loss !== column.baseline
    ? table(`What differs from ${column.baseline}`, ["name", column.baseline, entry.loss], entry.differs.map(([name, a, b]) => [name, written(a), written(b)]))
    : null,
  pairs(column.trials ? "Recipe of the first trial" : "Recipe, the same for every loss of this table", Object.entries(column.recipe).map(([name, value]) => [name, written(value)])),
);

const provenance = (column, entry) => {
  const by = new Map();
  for (const run of entry.runs) {
    const key = JSON.stringify([run.environment, run.command, run.verified]);
    by.set(key, [...(by.get(key) ?? []), run]);
  }
  const parts = [...by.values()].map((runs) => {
    const [first] = runs;
    const environment = data.environments[first.environment] ?? {};
    const { git_sha: sha, dirty, ...rest } = environment;
    const commit = sha ? `${sha}${dirty ? " with uncommitted changes" : ""}` : "not known";
    const rows = [
      ["command", data.commands[first.command] ?? "not known"],
      ["commit", commit],
      ["data", `${column.key.data_digest}${first.verified ? `, verified (${first.verified})` : ", not verified"}`],
      ...Object.entries(rest).filter(([, value]) => present(value)).map(([name, value]) => [name, written(value)]),
    ];
    return pairs(runs.map((run) => `s${run.seed}`).join(", "), rows, by.size === 1);
  });
  const warnings = entry.runs.flatMap((run) => (run.warnings ?? []).map((warning) => element("li", {}, `s${run.seed}: ${warning}`)));
  return element("div", {}, element("h3", {}, "Where they come from"), ...parts, warnings.length ? element("ul", {}, ...warnings) : null);
};

const standing = (column, entry) => [
  entry.loss === column.baseline ? "the baseline" : "",
  present(entry.rank) ? `rank ${entry.rank}` : "",
  entry.missing ? `not ranked: ${entry.missing}` : "",
].filter(Boolean).join("; ");

// -- opening and closing, which the browser's Back undoes --------------------------------------------------------------

const address = (place, position, metric) => {
  const column = data.columns[place];
  const parts = [column.title, column.entries[position].loss, ...(metric && metric !== column.metrics[0] ? [metric] : [])];
  return `#runs/${parts.map(encodeURIComponent).join("/")}`;
};
// `panel`: whether going back closes it.
const visit = (how, hash, panel) => {
  try { history[how]({ panel }, "", hash || location.href.split("#")[0]); } catch { /* a page inside another */ }
};

const fill = (place, position, metric) => {
  const column = data.columns[place];
  const entry = column.entries[position];
  const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(element(
    "div",
    { class: "panel" },
    element("div", { class: "bar" }, element("h2", { id: "panel-title" }, `${column.title} · ${entry.loss}`), close),
    element("p", { class: "quiet" }, standing(column, entry)),
    column.metrics.length ? summary(column, entry, metric) : null,
    runTable(column, entry),
    curves(column, entry, metric),
    groupLegend(column),
    configuration(column, entry),
    provenance(column, entry),
  ));
};
const openPanel = (place, position, metric) => {
  fill(place, position, metric);
  const goal = address(place, position, metric);
  if (location.hash !== goal) visit(dialog.open ? "replaceState" : "pushState", goal, !dialog.open || Boolean(history.state?.panel));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
};
let byAddress = false; // whether the dialog was closed because the address has changed
dialog.addEventListener("close", () => {
  large.close();
  if (byAddress) {
    byAddress = false;
    return;
  }
  if (!location.hash.startsWith("#runs/")) return;
  if (history.state?.panel) history.back();
  else visit("replaceState", "", false);
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

// Opens what the address names, and closes what it does not.
const follow = () => {
  let named = [];
  try {
    if (location.hash.startsWith("#runs/")) named = location.hash.slice(6).split("/").map(decodeURIComponent);
  } catch { /* not an address of this page */ }
  const place = data.columns.findIndex((column) => column.title === named[0]);
  const position = place < 0 ? -1 : data.columns[place].entries.findIndex((entry) => entry.loss === named[1]);
  if (position >= 0) openPanel(place, position, named[2]);
  else if (dialog.open) {
    byAddress = true;
    dialog.close();
  }
};
