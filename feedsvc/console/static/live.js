// The live figures. They are fetched every few seconds while the page is visible. Each has a trend
// line of the last minutes.
import { Part } from "./requests.js";

const EVERY_MS = 3_000;
const POINTS = 60;
const [WIDTH, HEIGHT] = [120, 28];

const live = document.getElementById("live");
const trends = new Map();

// Return the values as a polyline, from the left edge to the right one, with zero at the bottom.
function polyline(values) {
  const most = Math.max(...values) || 1;
  const x = (at) => ((at * WIDTH) / (POINTS - 1)).toFixed(1);
  const y = (value) => (HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(1);
  return values.map((value, at) => `${x(at)},${y(value)}`).join(" ");
}

function show(figures) {
  for (const [name, { value, said, beside }] of Object.entries(figures)) {
    const place = document.getElementById(`live-${name}`);
    const trend = [...(trends.get(name) ?? []), value ?? 0].slice(-POINTS);
    trends.set(name, trend);
    place.querySelector("output").textContent = said;
    place.querySelector(".hint").textContent = beside;
    place.querySelector("polyline").setAttribute("points", polyline(trend));
  }
}

const part = new Part(live.querySelector(".state"), (body) => show(JSON.parse(body)));

async function poll() {
  if (!document.hidden) await part.load(live.dataset.url, { silently: true });
  setTimeout(poll, EVERY_MS);
}

poll();
