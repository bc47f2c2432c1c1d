// The threshold page. One value moves the lines, the fields and the preview together.
import { costChart, distributionChart, follow } from "./charts.js";
import { Part } from "./requests.js";
import { ThresholdLine } from "./threshold-line.js";

const SETTLED_MS = 120;

const byId = (id) => document.getElementById(id);
const stateOf = (element) => element.closest(".card").querySelector(".state");
const number = new Intl.NumberFormat("en");

const { promoteAt, demoteAt } = byId("studio").dataset;
const today = { promote: Number(promoteAt), demote: Number(demoteAt) };
const [promote, demote] = [byId("promote_at"), byId("demote_at")];
const lines = [];
let keepsRatio = true;
let settling;
let requested;

// The heading names the value of the figures below it, not the value that is being requested.
const preview = new Part(stateOf(byId("preview")), (html) => {
  byId("asked").textContent = number.format(requested);
  byId("preview").innerHTML = html;
});

function request() {
  requested = Number(promote.value);
  const query = new URLSearchParams({ promote_at: promote.value, demote_at: demote.value });
  preview.load(`${byId("preview").dataset.url}?${query}`);
}

// Show a new value everywhere. demote_at follows in today's ratio, unless it has been typed in.
function moveTo(value) {
  promote.value = value;
  if (keepsRatio) {
    const inRatio = Math.round((value * today.demote) / today.promote);
    demote.value = Math.max(1, Math.min(value, inRatio));
  }
  show();
}

// Move the lines at once, and request the preview once the value has settled.
function show() {
  const value = Number(promote.value);
  if (!promote.validity.valid || !demote.validity.valid) return;
  for (const line of lines) line.put(value);
  clearTimeout(settling);
  settling = setTimeout(request, SETTLED_MS);
}

// Return a function that describes a threshold with the number of accounts at or above it.
function describer({ followers, accounts }) {
  return (value) => {
    const at = followers.findIndex((count) => count >= value);
    const above = number.format(at < 0 ? 0 : accounts[at]);
    return `${number.format(value)} followers; about ${above} accounts have as many or more`;
  };
}

function draw({ distribution, curve, beside, recommended, keep, why, fits_from: fitsFrom }) {
  for (const id of ["costs-card", "lines"]) byId(id).hidden = false;
  for (const id of ["distribution", "costs"]) byId(id).replaceChildren();
  const fixed = [[today.promote, "soft", [6, 4]], [recommended, "best", [2, 3]]];
  const charts = [
    [distributionChart(byId("distribution"), distribution, fixed), "Threshold, over the accounts"],
    [costChart(byId("costs"), curve, fixed, fitsFrom), "Threshold, over the costs"],
  ];
  const most = curve.promote_at.at(-1);
  const describe = describer(distribution);
  lines.length = 0;
  for (const [chart, label] of charts) {
    lines.push(new ThresholdLine(chart, label, most, moveTo, describe));
  }
  follow(charts.map(([chart]) => chart), () => {
    for (const line of lines) line.put(Number(promote.value));
  });
  byId("advice").textContent = `${why} Uploads and reads cost another ${beside} at any threshold.`;
  byId("exceeds").hidden = fitsFrom === 1;
  byId("take").hidden = keep;
  byId("take").onclick = () => moveTo(recommended);
}

promote.addEventListener("input", () => {
  if (promote.validity.valid) moveTo(Number(promote.value));
});
demote.addEventListener("input", () => {
  keepsRatio = false;
  show();
});
const charts = byId("distribution");
new Part(stateOf(charts), (body) => draw(JSON.parse(body))).load(charts.dataset.url);
request();
