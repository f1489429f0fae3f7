"use strict";
// SVG elements, scales and ticks that charts are made of.

const SVG = "http://www.w3.org/2000/svg";
const node = (name, attributes = {}, ...children) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const present = (value) => value !== null && value !== undefined;

const linearTicks = (low, high, most = 6) => {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) ticks.push(tick * step);
  return ticks;
};
// Of the sets of factors within a power of ten, the first that gives four ticks or more; else even steps.
const FACTORS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8]];
const logTicks = (low, high) => {
  for (const factors of FACTORS) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      ticks.push(...factors.map((factor) => factor * 10 ** power).filter((tick) => tick >= low * 0.999 && tick <= high * 1.001));
    }
    if (ticks.length >= 4) return ticks;
  }
  return linearTicks(low, high);
};
const short = (value) => {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(+value.toPrecision(4)).replace("-", "−");
};

// An axis from the values on it: its ends, its ticks, and where a value lies between 0 and 1.
const axis = (values, log) => {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - 1, high + 1];
  const [a, b] = log ? [Math.log(low), Math.log(high)] : [low, high];
  const room = (b - a) * 0.05;
  const at = (value) => ((log ? Math.log(value) : value) - a + room) / (b - a + 2 * room);
  return { at, ticks: log ? logTicks(low, high) : linearTicks(low, high) };
};
const isWide = (values, factor = 8) => {
  const known = values.filter((value) => value > 0);
  return known.length > 0 && Math.max(...known) / Math.min(...known) > factor;
};

// Marks of matplotlib's names, of radius 1 around 0,0.
const SHAPES = {
  s: "M-.85-.85h1.7v1.7h-1.7z", D: "M0-1.15 1.15 0 0 1.15-1.15 0z", "^": "M0-1.1 1.05.8h-2.1z", v: "M0 1.1 1.05-.8h-2.1z",
  "<": "M-1.1 0 .8-1.05v2.1z", ">": "M1.1 0-.8-1.05v2.1z", P: "M-.4-1.1h.8v.7h.7v.8h-.7v.7h-.8v-.7h-.7v-.8h.7z",
  X: "M-1.1-.6-.6-1.1 0-.5.6-1.1 1.1-.6.5 0 1.1.6.6 1.1 0 .5-.6 1.1-1.1.6-.5 0z",
  "*": "M0-1.25.3-.4 1.2-.4.48.15.75 1 0 .5-.75 1-.48.15-1.2-.4-.3-.4z",
  p: "M0-1.1 1.05-.34.65.9h-1.3L-1.05-.34z", h: "M0-1.1.95-.55v1.1L0 1.1-.95.55v-1.1z",
};
const mark = (shape, x, y, radius, attributes) => (SHAPES[shape]
  ? node("path", { ...attributes, d: SHAPES[shape], transform: `translate(${x} ${y}) scale(${radius})` })
  : node("circle", { ...attributes, cx: x, cy: y, r: radius }));
