"use strict";
// Small charts as SVG elements. Colours and fonts are the style sheet's: tone-0, tone-1, …

const SVG = "http://www.w3.org/2000/svg";
const node = (name, attributes = {}, ...children) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const linearTicks = (low, high) => {
  const rough = (high - low) / 6 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) ticks.push(tick * step);
  return ticks;
};
const logTicks = (low, high) => {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of high / low > 300 ? [1] : high / low > 20 ? [1, 3] : [1, 2, 5]) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high);
};
const short = (value) => {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(+value.toPrecision(4)).replace("-", "−");
};

// An axis from the values on it: whether logarithmic, its ends, its ticks, and where a value lies between 0 and 1.
const axis = (values, log) => {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - 1, high + 1];
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const room = (b - a) * 0.05;
  const at = (value) => ((log ? Math.log(value) : value) - a + room) / (b - a + 2 * room);
  return { at, ticks: log ? logTicks(low, high) : linearTicks(low, high) };
};

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

// chart({ label, x, y, logX, logY, lines, dots, width, height }): lines are { name, tone, points, faint, plain },
// dots { name, tone, x, y, dx, dy, href, tip, hollow }. Returns null where there is nothing to draw.
const chart = (options) => {
  const { label, x, y, logX, logY, lines = [], dots = [], width = 360, height = 230 } = options;
  const fits = ([a, b]) => a !== null && b !== null && (!logX || a > 0) && (!logY || b > 0);
  const drawn = lines.map((line) => ({ ...line, points: line.points.filter(fits) })).filter((line) => line.points.length);
  const shown = dots.filter((dot) => fits([dot.x, dot.y]));
  const all = [...drawn.flatMap((line) => line.points), ...shown.map((dot) => [dot.x, dot.y])];
  if (!all.length) return null;
  const reach = (dot, axisName) => (dot[`d${axisName}`] ? [dot[axisName] - dot[`d${axisName}`], dot[axisName] + dot[`d${axisName}`]] : []);
  const across = axis([...all.map((point) => point[0]), ...shown.flatMap((dot) => reach(dot, "x"))], logX);
  const up = axis([...all.map((point) => point[1]), ...shown.flatMap((dot) => reach(dot, "y"))], logY);
  const named = [...drawn, ...shown].filter((each) => each.name && !each.plain);
  const clip = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);
  const inside = { left: 44, top: 10, bottom: 38, right: 14 + Math.max(0, ...named.map((each) => clip(each.name).length)) * 6.1 };
  if (shown.length && !drawn.length) inside.right = 16;
  const px = (value) => +(inside.left + across.at(value) * (width - inside.left - inside.right)).toFixed(1);
  const py = (value) => +(height - inside.bottom - up.at(value) * (height - inside.top - inside.bottom)).toFixed(1);
  const base = height - inside.bottom;
  const picture = node("svg", { viewBox: `0 0 ${width} ${height}`, role: shown.some((dot) => dot.href) ? "group" : "img", "aria-label": label });
  for (const tick of up.ticks) {
    picture.append(node("line", { class: "grid", x1: inside.left, x2: width - inside.right, y1: py(tick), y2: py(tick) }));
    picture.append(node("text", { class: "tick", x: inside.left - 5, y: py(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  let free = -Infinity;
  for (const tick of across.ticks) {
    const place = px(tick);
    if (place - free < short(tick).length * 6.5 + 8) continue;
    free = place;
    picture.append(node("line", { class: "grid", x1: place, x2: place, y1: inside.top, y2: base }));
    picture.append(node("text", { class: "tick", x: place, y: base + 14, "text-anchor": "middle" }, short(tick)));
  }
  picture.append(node("text", { class: "axis", x: (inside.left + width - inside.right) / 2, y: height - 6, "text-anchor": "middle" }, x));
  const middle = (inside.top + base) / 2;
  picture.append(node("text", { class: "axis", x: 11, y: middle, transform: `rotate(-90 11 ${middle})`, "text-anchor": "middle" }, y));
  for (const line of drawn) {
    const points = line.points.map(([a, b]) => `${px(a)},${py(b)}`).join(" ");
    const single = line.points.length === 1;
    const style = `line tone-${line.tone}${line.faint ? " faint" : ""}`;
    const [a, b] = line.points[0];
    const mark = single
      ? node("circle", { class: `dot tone-${line.tone}`, cx: px(a), cy: py(b), r: 3.5 })
      : node("polyline", { class: style, points });
    mark.append(node("title", {}, line.tip ?? line.name ?? ""));
    picture.append(mark);
  }
  const ends = drawn.filter((line) => line.name && !line.plain).map((line) => {
    const [a, b] = line.points.at(-1);
    return { text: line.name, tone: line.tone, x: px(a) + 6, y: py(b) };
  });
  const besides = shown.filter((dot) => dot.name && !dot.plain).map((dot) => ({ text: dot.name, tone: dot.tone, dot, y: py(dot.y) }));
  spread(ends, 13, base);
  spread(besides, 13, base);
  for (const end of ends) picture.append(node("text", { class: `name tone-${end.tone}`, x: end.x, y: end.y + 4 }, clip(end.text)));
  for (const dot of shown) {
    const group = node(dot.href ? "a" : "g", { href: dot.href, class: `tone-${dot.tone}`, "aria-label": dot.href ? dot.tip : undefined });
    if (dot.tip) group.append(node("title", {}, dot.tip));
    const [cx, cy] = [px(dot.x), py(dot.y)];
    if (dot.dx) group.append(node("line", { class: "bar", x1: px(dot.x - dot.dx), x2: px(dot.x + dot.dx), y1: cy, y2: cy }));
    if (dot.dy) group.append(node("line", { class: "bar", x1: cx, x2: cx, y1: py(dot.y - dot.dy), y2: py(dot.y + dot.dy) }));
    group.append(node("circle", { class: dot.hollow ? "dot hollow" : "dot", cx, cy, r: dot.r ?? 4.5 }));
    const beside = besides.find((each) => each.dot === dot);
    if (beside) {
      const right = cx < width * 0.6;
      group.append(node("text", { class: "name", x: cx + (right ? 9 : -9), y: beside.y - 4, "text-anchor": right ? "start" : "end" }, clip(dot.name)));
    }
    picture.append(group);
  }
  return picture;
};
