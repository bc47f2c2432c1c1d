// The live figures: asked for every few seconds while somebody looks; a trend of the last minutes under each.
import { Part } from "./asking.js";

const EVERY_MS = 3_000;
const KEPT = 60;
const [WIDTH, HEIGHT] = [120, 28];

const live = document.getElementById("live");
const trends = new Map();

// The kept values as a line, from the left edge to the right one, zero at the bottom.
function points(values) {
  const most = Math.max(...values) || 1;
  return values.map((value, at) => `${((at * WIDTH) / (KEPT - 1)).toFixed(1)},${(HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1)}`).join(" ");
}

function show(figures) {
  for (const [name, { value, said, beside }] of Object.entries(figures)) {
    const place = document.getElementById(`live-${name}`);
    const trend = [...(trends.get(name) ?? []), value ?? 0].slice(-KEPT);
    trends.set(name, trend);
    place.querySelector("output").textContent = said;
    place.querySelector(".hint").textContent = beside;
    place.querySelector("polyline").setAttribute("points", points(trend));
  }
}

const part = new Part(live.querySelector(".state"), (body) => show(JSON.parse(body)));

async function poll() {
  if (!document.hidden) await part.load(live.dataset.url, { silently: true });
  setTimeout(poll, EVERY_MS);
}

poll();
