// What a chart says of the point nearest to the pointer, or chosen with the arrow keys; a large one on a click.

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};

const showSpot = (picture, spot) => {
  picture.querySelector(".readout")?.remove();
  if (!spot) return;
  const lines = spot.text.map((line) => clip(line, 46));
  const width = Math.max(...lines.map((line) => line.length)) * LETTER + 10;
  const height = lines.length * 14 + 6;
  const room = picture.inside.width;
  const x = Math.max(0, Math.min(spot.x + 10, room - width));
  const y = spot.y - height - 8 > 0 ? spot.y - height - 8 : spot.y + 10;
  picture.append(node(
    "g",
    { class: "readout", "aria-hidden": "true" },
    node("circle", { class: "ring", cx: spot.x, cy: spot.y, r: 6 }),
    node("rect", { x, y, width, height, rx: 3 }),
    ...lines.map((line, place) => node("text", { x: x + 5, y: y + 14 * (place + 1) }, line)),
  ));
};

const nearest = (picture, event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  const away = (spot) => Math.hypot(spot.x - point.x, (spot.y - point.y) * 0.6);
  const found = picture.spots.reduce((best, spot) => (!best || away(spot) < away(best) ? spot : best), null);
  return found && away(found) < 60 ? found : null;
};

// Left and right go along a series, up and down to another one at about the same place.
const step = (spots, now, key) => {
  if (!now) return spots[0];
  const own = spots.filter((spot) => spot.series === now.series).sort((a, b) => a.x - b.x);
  if (key === "ArrowLeft" || key === "ArrowRight") return own[own.indexOf(now) + (key === "ArrowRight" ? 1 : -1)] ?? now;
  const all = [...new Set(spots.map((spot) => spot.series))];
  const other = all[(all.indexOf(now.series) + (key === "ArrowDown" ? 1 : all.length - 1)) % all.length];
  return spots.filter((spot) => spot.series === other).reduce((best, spot) => (Math.abs(spot.x - now.x) < Math.abs(best.x - now.x) ? spot : best));
};

const listen = (picture, said) => {
  let now = null;
  const show = (spot) => { now = spot; showSpot(picture, spot); };
  picture.addEventListener("pointermove", (event) => show(nearest(picture, event)));
  picture.addEventListener("pointerleave", () => show(null));
  picture.addEventListener("blur", () => { show(null); said.textContent = ""; });
  picture.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow") || !picture.spots.length || event.target !== picture) return;
    event.preventDefault();
    show(step(picture.spots, now, event.key));
    said.textContent = now.text.join(", ");
  });
};

const large = document.getElementById("large");
const enlarge = (options) => {
  const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", () => large.close());
  const width = Math.max(320, Math.min(innerWidth - 48, 1232));
  const size = { width, height: Math.max(240, Math.min(innerHeight - 130, 680, width)) };
  large.replaceChildren(
    element("div", { class: "bar" }, element("h2", { id: "large-title" }, options.label), close),
    plot({ ...options, ...size, fixed: true }),
  );
  large.showModal();
};
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });

// A chart that can be read out and, unless it is `fixed`, enlarged; null where there is nothing to draw.
const plot = (options) => {
  const picture = chart(options);
  if (!picture) return null;
  const said = element("output", { class: "hidden" });
  listen(picture, said);
  if (options.fixed) return element("div", { class: "chart" }, picture, said);
  const button = element("button", { type: "button", class: "enlarge", "aria-label": `Enlarge: ${options.label}`, title: "Enlarge" }, "⤢");
  button.addEventListener("click", () => enlarge(options));
  picture.addEventListener("click", (event) => { if (!event.target.closest("a")) enlarge(options); });
  return element("div", { class: "chart" }, picture, button, said);
};
