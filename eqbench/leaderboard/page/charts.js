// Small charts as SVG elements. Colours, dashes and fonts are the style sheet's: tone-0, …, group-0, …

const clip = (name, longest = 22) => (name.length > longest ? `${name.slice(0, longest - 1)}…` : name);
const LETTER = 6.3;

// Moves labels apart, keeping their order.
const spread = (labels, gap, lowest) => {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, place) => { if (place) label.y = Math.max(label.y, labels[place - 1].y + gap); });
  let limit = lowest;
  for (const label of [...labels].reverse()) {
    label.y = Math.min(label.y, limit);
    limit = label.y - gap;
  }
};

// Places names beside their dots where nothing else is; one that finds no room goes further off, with a line to its dot.
const placeNames = (dots, area) => {
  const taken = dots.map(({ px, py }) => [px - 6, py - 6, px + 6, py + 6]);
  const free = (box) => box[0] >= area[0] && box[1] >= area[1] && box[2] <= area[2] && box[3] <= area[3]
    && !taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
  return dots.filter((dot) => dot.name && !dot.plain).map((dot) => {
    const text = clip(dot.name);
    const width = text.length * LETTER;
    const { px, py } = dot;
    const tries = [0, 14, -14, 26, -26, 40, -40, 56, -56, 74, -74].flatMap((dy) => [
      [px + 9, py - 4 + dy, "start"], [px - 9, py - 4 + dy, "end"], ...(dy ? [[px, py - 4 + dy, "middle"]] : []),
    ]);
    const boxOf = ([x, y, anchor]) => {
      const left = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
      return [left, y - 10, left + width, y + 3];
    };
    const place = tries.find((each) => free(boxOf(each))) ?? tries[px < (area[0] + area[2]) / 2 ? 0 : 1];
    taken.push(boxOf(place));
    return { dot, text, x: place[0], y: place[1], anchor: place[2], led: Math.abs(place[1] + 4 - py) > 15 };
  });
};

// The value of each line at its end, for those who cannot see it.
const endings = (lines) => lines.filter((line) => line.name && !line.faint && line.points.length)
  .map((line) => `${line.name} ${short(line.points.at(-1)[1])}`).join(", ");

const frame = (picture, inside, size, across, up, options) => {
  const { px, py } = size;
  const { left, top, right, base } = inside;
  for (const tick of up.ticks) {
    picture.append(node("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }));
    picture.append(node("text", { class: "tick", x: left - 5, y: py(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  let free = -Infinity;
  const marks = across.ticks.map((tick) => [tick, short(tick)]);
  if (options.edge) marks.unshift([options.edge, "0"]);
  for (const [tick, text] of marks) {
    const place = px(tick);
    if (place - free < text.length * 6.5 + 8) continue;
    free = place;
    picture.append(node("line", { class: "grid", x1: place, x2: place, y1: top, y2: base }));
    picture.append(node("text", { class: "tick", x: place, y: base + 14, "text-anchor": "middle" }, text));
  }
  if (present(options.balance)) {
    picture.append(node("line", { class: "balance", x1: left, x2: right, y1: py(options.balance), y2: py(options.balance) }));
  }
  picture.append(node("text", { class: "axis", x: (left + right) / 2, y: options.height - 6, "text-anchor": "middle" }, options.x));
  const middle = (top + base) / 2;
  picture.append(node("text", { class: "axis", x: 11, y: middle, transform: `rotate(-90 11 ${middle})`, "text-anchor": "middle" }, options.y));
};

const drawLine = (picture, line, { px, py }) => {
  const [a, b] = line.points[0];
  const made = line.points.length === 1
    ? node("circle", { class: `dot ${line.tone}`, cx: px(a), cy: py(b), r: line.faint ? 2 : 3.5 })
    : node("polyline", { class: `line ${line.tone}${line.faint ? " faint" : ""}`, points: line.points.map(([x, y]) => `${px(x)},${py(y)}`).join(" ") });
  picture.append(made);
};

const drawDot = (picture, dot, { px, py }) => {
  const group = node(dot.href ? "a" : "g", { href: dot.href, "data-open": dot.open, class: dot.tone, "aria-label": dot.href ? dot.tip : undefined });
  if (present(dot.dx)) group.append(node("line", { class: "bar", x1: px(dot.x - dot.dx), x2: px(dot.x + dot.dx), y1: dot.py, y2: dot.py }));
  if (present(dot.dy)) group.append(node("line", { class: "bar", x1: dot.px, x2: dot.px, y1: py(dot.y - dot.dy), y2: py(dot.y + dot.dy) }));
  group.append(mark(dot.shape, dot.px, dot.py, dot.r ?? 5, { class: dot.hollow ? "dot hollow" : "dot" }));
  picture.append(group);
  return group;
};

// chart({ label, x, y, logX, logY, lines, dots, width, height, limits, balance, edge }): lines are { name, tone, points,
// faint, plain }, dots { name, tone, shape, x, y, dx, dy, href, tip, hollow }. `limits` ({ x, y }: values that must be on
// the axes) are those of charts beside it, `edge` is where values of 0 stand on a logarithmic axis. What pointing at it
// reads out is in `picture.spots`. Returns null where there is nothing to draw.
const chart = (given) => {
  const options = { width: 360, height: 230, lines: [], dots: [], limits: {}, ...given };
  const { logX, logY, width, height } = options;
  const fits = ([a, b]) => present(a) && present(b) && (!logX || a > 0) && (!logY || b > 0);
  const drawn = options.lines.map((line) => ({ ...line, points: line.points.filter(fits) })).filter((line) => line.points.length);
  const shown = options.dots.filter((dot) => fits([dot.x, dot.y])).map((dot) => ({ ...dot }));
  const all = [...drawn.flatMap((line) => line.points), ...shown.map((dot) => [dot.x, dot.y])];
  if (!all.length) return null;
  const reach = (dot, name) => (present(dot[`d${name}`]) ? [dot[name] - dot[`d${name}`], dot[name] + dot[`d${name}`]] : []);
  const on = (name, place) => [
    ...all.map((point) => point[place]), ...shown.flatMap((dot) => reach(dot, name)), ...(options.limits[name] ?? []),
    ...(name === "y" && present(options.balance) ? [options.balance] : []),
  ];
  const [across, up] = [axis(on("x", 0), logX), axis(on("y", 1), logY)];
  const named = drawn.filter((each) => each.name && !each.plain);
  const names = Math.max(0, ...named.map((each) => clip(each.name).length)) * LETTER;
  const inside = { left: 46, top: 10, right: width - 14 - names, base: height - 38 };
  const px = (value) => +(inside.left + across.at(value) * (inside.right - inside.left)).toFixed(1);
  const py = (value) => +(inside.base - up.at(value) * (inside.base - inside.top)).toFixed(1);
  const size = { px, py };
  const linked = shown.some((dot) => dot.href);
  const said = endings(drawn);
  const label = `${options.label}${said ? `; at the end: ${said}` : ""}`;
  const picture = node("svg", { viewBox: `0 0 ${width} ${height}`, role: linked ? "group" : "img", "aria-label": label, tabindex: linked ? undefined : 0 });
  frame(picture, inside, size, across, up, options);
  for (const line of [...drawn].sort((a, b) => Boolean(b.faint) - Boolean(a.faint))) drawLine(picture, line, size);
  const ends = named.map((line) => ({ text: line.name, tone: line.tone, x: px(line.points.at(-1)[0]) + 6, y: py(line.points.at(-1)[1]) }));
  spread(ends, 13, inside.base);
  for (const end of ends) picture.append(node("text", { class: `name ${end.tone}`, x: end.x, y: end.y + 4 }, clip(end.text)));
  for (const dot of shown) [dot.px, dot.py] = [px(dot.x), py(dot.y)];
  const groups = new Map(shown.map((dot) => [dot, drawDot(picture, dot, size)]));
  for (const { dot, text, x, y, anchor, led } of placeNames(shown, [inside.left, inside.top, width, inside.base])) {
    const group = groups.get(dot);
    if (led) group.prepend(node("line", { class: "leader", x1: dot.px, y1: dot.py, x2: x, y2: y - 3 }));
    group.append(node("text", { class: "name", x, y, "text-anchor": anchor }, text));
  }
  picture.spots = [
    ...drawn.filter((line) => line.name && !(line.faint && drawn.some((each) => !each.faint))).flatMap((line) => line.points.map(([a, b]) => ({
      x: px(a), y: py(b), series: line.name, text: [line.name, `${options.x} ${short(a)}: ${short(b)}`],
    }))),
    ...shown.filter((dot) => dot.tip).map((dot) => ({ x: dot.px, y: dot.py, series: dot.series ?? "", text: dot.tip.split(/: |\n/) })),
  ];
  picture.inside = { ...inside, width };
  return picture;
};
