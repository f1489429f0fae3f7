// Curves over training and results by class, of one loss or of the losses of a task.

const data = JSON.parse(document.getElementById("data").textContent);
const fixed = (value, digits = 1) => (present(value) ? (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits) : "–");
const figure = (picture, ...caption) => (picture ? element("figure", {}, picture, element("figcaption", {}, ...caption)) : null);

// A loss looks the same on the whole board, a class group in every task.
const toneOf = (loss) => `tone-${data.looks[loss].tone} dash-${data.looks[loss].dash}`;
const shapeOf = (loss) => data.looks[loss].mark;
const groupTone = (column, name) => {
  const place = column.groups.findIndex((group) => group.name === name);
  return place < 0 ? "tone-other" : `group-${column.groups[place].tone} dash-${place % 5}`;
};

const zipped = (part, name) => (part?.[name] ?? []).map((value, place) => [part.x[place], value]);
const seedsOf = (runs) => (runs.length === 1 ? `seed ${runs[0].seed}` : `${runs.length} seeds`);

// Runs whose curves are drawn: those that finished, or all of a loss of which none has.
const drawnRuns = (entry) => {
  const stored = entry.runs.filter((run) => run.curves);
  const finished = stored.filter((run) => !run.reason);
  return finished.length ? finished : stored;
};
const leftOut = (entry, runs) => {
  const without = entry.runs.filter((run) => run.reason && !runs.includes(run)).map((run) => `s${run.seed}`);
  const unfinished = runs.some((run) => run.reason) ? " None of them finished." : "";
  return without.length ? ` ${without.join(", ")} did not finish and ${without.length === 1 ? "is" : "are"} left out.` : unfinished;
};

// At every place the mean over the runs that reach it.
const meanCurve = (runs, part, name) => {
  const found = new Map();
  for (const run of runs) {
    for (const [x, value] of zipped(run.curves[part], name)) if (present(value)) found.set(x, [...(found.get(x) ?? []), value]);
  }
  return [...found].map(([x, values]) => [x, values.reduce((sum, value) => sum + value, 0) / values.length]).sort((a, b) => a[0] - b[0]);
};

const ratioLines = (column, entry) => Object.keys(entry.ratios ?? {}).filter((name) => name !== "x").map((name) => ({
  name, tone: groupTone(column, name), points: zipped(entry.ratios, name),
}));
// What the axes of all ratio charts of these losses have in common.
const ratioLimits = (column, entries) => {
  const points = entries.flatMap((entry) => ratioLines(column, entry)).flatMap((line) => line.points).filter(([, value]) => value > 0);
  return { x: [0, ...points.map((point) => point[0])], y: points.map((point) => point[1]) };
};
const ratioChart = (column, entry, limits) => {
  if (!entry.ratios) return null;
  return plot({
    label: `Gradient ratio by class group over training, ${entry.loss}`, x: "epoch", y: "positive / negative", balance: 1,
    logY: isWide([1, ...limits.y], 4), limits, lines: ratioLines(column, entry),
  });
};
const groupLegend = (column) => (column.groups.length ? element("p", { class: "quiet" }, "Class groups: ", ...column.groups.flatMap((group, place) => [
  place ? "; " : "",
  element("b", { class: `ink ${groupTone(column, group.name)}` }, group.name),
  ` ${group.words}`,
]), ".") : null);

const seedLines = (runs, part, name, tone) => (runs.length < 2 ? [] : runs.map((run) => ({
  name: `s${run.seed}`, tone, faint: true, plain: true, points: zipped(run.curves[part], name),
})));
const against = (column, entry, part, name) => {
  const baseline = column.entries.find((each) => each.loss === column.baseline);
  const own = { name: entry.loss, tone: toneOf(entry.loss), points: meanCurve(drawnRuns(entry), part, name) };
  if (!baseline || baseline === entry) return [own];
  return [{ name: baseline.loss, tone: toneOf(baseline.loss), points: meanCurve(drawnRuns(baseline), part, name) }, own];
};

// A class without training samples stands at the left edge of a logarithmic axis.
const classChart = (column, entry) => {
  const own = data.classes[entry.classes?.of];
  if (!own) return null;
  const baseline = column.entries.find((each) => each.loss === column.baseline);
  const other = baseline && baseline !== entry && baseline.classes ? baseline : null;
  const counts = own.count.filter((count) => count > 0);
  const logX = counts.length > 1 && isWide(counts, 5);
  const none = own.count.filter((count, place) => !count && present(entry.classes.value[place])).length;
  const edge = logX && none ? Math.min(...counts) / 2 : undefined;
  const dots = ({ loss, classes: { of, value } }, hollow) => data.classes[of].count.map((count, place) => ({
    x: count || (edge ?? count), y: value[place], hollow, r: hollow ? 3.5 : 3, tone: toneOf(loss), shape: shapeOf(loss), plain: true, series: loss,
    tip: `${data.classes[of].name[place]} (${data.classes[of].group[place]})\n${short(count)} training ${column.samples}\n${loss} ${fixed(value[place])} %`,
  }));
  const picture = plot({
    label: `${own.metric} of each class against its frequency, ${entry.loss}`, x: `training ${column.samples} of the class`, y: `${own.metric} (%)`,
    logX, edge, dots: [...(other ? dots(other, true) : []), ...dots(entry, false)],
  });
  const binned = own.classes > own.count.length ? `, ${own.classes} classes in ${own.count.length} bins` : "";
  const hollow = other ? ` Hollow: ${other.loss}.` : "";
  const edged = edge ? ` ${none} without training ${column.samples}, at the left edge.` : "";
  return figure(picture, `Result of each class against its frequency, mean of ${entry.classes.runs} ${entry.classes.runs === 1 ? "seed" : "seeds"}${binned}.${hollow}${edged}`);
};

// The curve of the metric that was asked for comes first, then that of the main one.
const curves = (column, entry, metric) => {
  const runs = drawnRuns(entry);
  const seeds = seedsOf(runs);
  if (!runs.length && !entry.ratios && !entry.classes) return element("p", { class: "quiet" }, "No curves of these runs are in this page.");
  const drawn = [...new Set([metric, column.metrics[0]])].filter(Boolean);
  const over = (part, name, title, unit, logY) => {
    const lines = [...seedLines(runs, part, name, toneOf(entry.loss)), ...against(column, entry, part, name)];
    if (lines.every((line) => line.points.length < 2)) return null;
    return figure(
      plot({ label: `${title} over training, ${entry.loss}`, x: "epoch", y: `${title}${unit}`, logY, limits: { x: [0] }, lines }),
      `${title} over training, ${runs.length > 1 ? `mean of ${seeds} and each` : seeds}.${leftOut(entry, runs)}`,
    );
  };
  const losses = against(column, entry, "train", "loss").flatMap((line) => line.points.map((point) => point[1]));
  return element(
    "div",
    { class: "figures" },
    ...drawn.map((name) => over("val", name, name, " (%)", false)),
    figure(ratioChart(column, entry, ratioLimits(column, [entry])), `Gradient ratio by class group, ${entry.ratioSeeds}; 1 is balance.`),
    classChart(column, entry),
    over("train", "loss", "training loss", "", isWide(losses)),
  );
};
