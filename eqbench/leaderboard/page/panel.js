// The runs behind a number: their numbers, curves, configuration and where they come from.

const data = JSON.parse(document.getElementById("data").textContent);
const dialog = document.querySelector("dialog");
const TONES = 8;
const MIDDLE_TONE = 8; // of class groups, from frequent to rare: 8, 9, 10, …

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};
const present = (value) => value !== null && value !== undefined;
const fixed = (value, digits = 1) => (present(value) ? (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits) : "–");
const signed = (value) => (present(value) ? `${value > 0 ? "+" : ""}${fixed(value)}` : "–");
const probability = (value) => (!present(value) ? "–" : value < 0.001 ? "< 0.001" : value.toFixed(3));
const written = (value) => (typeof value === "string" ? value : present(value) ? JSON.stringify(value) : "–");

const table = (caption, heads, rows) => element(
  "div",
  { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
  element(
    "table",
    {},
    element("caption", {}, element("span", {}, caption)),
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map(([first, ...rest]) => element(
      "tr",
      {},
      element("th", { scope: "row" }, first),
      ...rest.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : element("td", {}, cell))),
    ))),
  ),
);
const figure = (picture, caption) => (picture ? element("figure", {}, picture, element("figcaption", {}, caption)) : null);
const pairs = (title, entries, open) => entries.length
  ? element("details", open ? { open: "" } : {}, element("summary", {}, title), table(title, ["name", "value"], entries))
  : null;

// -- curves ------------------------------------------------------------------------------------------------------

const zipped = (part, name) => (part?.[name] ?? []).map((value, place) => [part.x[place], value]);
const drawnRuns = (entry) => entry.runs.filter((run) => run.curves);
const groupsOf = (runs) => [...new Set(runs.flatMap((run) => Object.keys(run.curves.train)))].filter((name) => name !== "x" && name !== "loss");

// The mean over runs at the iterations of the first one; a value that one of them lacks there is left out.
const meanCurve = (runs, part, name) => {
  const byIteration = new Map();
  for (const run of runs) {
    for (const [iteration, value] of zipped(run.curves[part], name)) {
      if (value !== null) byIteration.set(iteration, [...(byIteration.get(iteration) ?? []), value]);
    }
  }
  const most = Math.max(0, ...[...byIteration.values()].map((values) => values.length));
  return [...byIteration]
    .filter(([, values]) => values.length === most)
    .map(([iteration, values]) => [iteration, values.reduce((sum, value) => sum + value, 0) / values.length])
    .sort((a, b) => a[0] - b[0]);
};

const ratioChart = (runs, title) => {
  const lines = groupsOf(runs).map((name, place) => ({ name, tone: MIDDLE_TONE + Math.min(place, 3), points: meanCurve(runs, "train", name) }));
  const values = lines.flatMap((line) => line.points.map((point) => point[1])).filter((value) => value > 0);
  const logY = values.length > 0 && Math.max(...values) / Math.min(...values) > 15;
  return chart({ label: `Gradient ratio by class group over training, ${title}`, x: "iteration", y: "positive / negative", logY, lines });
};

const seedLines = (runs, part, name) => runs.map((run) => ({
  name: `s${run.seed}`, tone: 0, faint: runs.length > 1, plain: true, points: zipped(run.curves[part], name),
}));
const against = (column, entry, part, name) => {
  const baseline = column.entries.find((each) => each.loss === column.baseline);
  const own = { name: entry.loss, tone: 0, points: meanCurve(drawnRuns(entry), part, name) };
  if (!baseline || baseline === entry) return [own];
  return [{ name: baseline.loss, tone: "other", points: meanCurve(drawnRuns(baseline), part, name) }, own];
};

const classChart = (column, entry) => {
  const own = data.classes[entry.classes?.of];
  if (!own) return null;
  const baseline = column.entries.find((each) => each.loss === column.baseline);
  const dots = ({ of, value }, hollow, loss) => data.classes[of].count.map((count, place) => ({
    x: count, y: value[place], hollow, r: 3, tone: hollow ? "other" : 0, plain: true,
    tip: `${data.classes[of].name[place]} (${data.classes[of].group[place]}), ${short(count)} in training: ${loss} ${fixed(value[place])}`,
  }));
  const other = baseline && baseline !== entry && baseline.classes ? dots(baseline.classes, true, baseline.loss) : [];
  const counts = own.count.filter((count) => count > 0);
  const logX = counts.length > 1 && Math.max(...counts) / Math.min(...counts) > 5;
  const picture = chart({
    label: `${own.metric} of each class against its frequency`, x: "frequency in training", y: own.metric, logX,
    dots: [...other, ...dots(entry.classes, false, entry.loss)],
  });
  const binned = own.classes > own.count.length ? `, ${own.classes} classes in ${own.count.length} bins` : "";
  const ring = other.length ? `; rings: ${column.baseline}` : "";
  return figure(picture, `Result of each class against its frequency, mean of ${entry.classes.runs} runs${binned}${ring}.`);
};

const curves = (column, entry) => {
  const runs = drawnRuns(entry);
  const main = column.metrics[0];
  const seeds = `${runs.length} of ${entry.runs.length} runs`;
  if (!runs.length) return element("p", { class: "quiet" }, "No curves of these runs are in this page.");
  const over = (part, name, title, logY) => figure(
    chart({ label: `${title} over training`, x: "iteration", y: title, logY, lines: [...seedLines(runs, part, name), ...against(column, entry, part, name)] }),
    `${title} over training: mean of ${seeds}, and each.`,
  );
  return element(
    "div",
    { class: "figures" },
    figure(ratioChart(runs, entry.loss), `Gradient ratio by class group, mean of ${seeds}; 1 is balance.`),
    main ? over("val", main, main, false) : null,
    over("train", "loss", "training loss", true),
    classChart(column, entry),
  );
};

// -- the panel ---------------------------------------------------------------------------------------------------

const summary = (column, entry) => table(
  "All metrics",
  ["metric", "mean ± 95 %", "n", `against ${column.baseline ?? "the baseline"}`, "pairs", "p", "p (Holm)"],
  column.metrics.filter((name) => entry.cells[name]?.[2]).map((name) => {
    const [mean, half, n, change, changeHalf, paired, p, holm, significant] = entry.cells[name];
    const own = `${fixed(mean, 2)}${present(half) ? ` ± ${fixed(half, 2)}` : ""}`;
    const moved = present(change) ? `${signed(change)}${present(changeHalf) ? ` ± ${fixed(changeHalf)}` : ""}${significant ? " *" : ""}` : "–";
    return [name, own, String(n), moved, present(paired) ? String(paired) : "–", probability(p), probability(holm)];
  }),
);

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
  pairs("Recipe, the same for every loss of this table", Object.entries(column.recipe).map(([name, value]) => [name, written(value)])),
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

const address = (place, position) => {
  const column = data.columns[place];
  return `#runs/${encodeURIComponent(column.title)}/${encodeURIComponent(column.entries[position].loss)}`;
};
const visit = (hash) => { try { history.replaceState(null, "", hash || location.href.split("#")[0]); } catch { /* a page inside another */ } };

const openPanel = (place, position) => {
  const column = data.columns[place];
  const entry = column.entries[position];
  const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(element(
    "div",
    { class: "panel" },
    element("div", { class: "bar" }, element("h2", { id: "panel-title" }, `${column.title} · ${entry.loss}`), close),
    element("p", { class: "quiet" }, standing(column, entry)),
    column.metrics.length ? summary(column, entry) : null,
    runTable(column, entry),
    curves(column, entry),
    configuration(column, entry),
    provenance(column, entry),
  ));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  visit(address(place, position));
};
dialog.addEventListener("close", () => visit(""));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const openAddressed = () => {
  if (!location.hash.startsWith("#runs/")) return;
  data.columns.forEach((column, place) => column.entries.forEach((_, position) => {
    if (address(place, position) === location.hash) openPanel(place, position);
  }));
};
