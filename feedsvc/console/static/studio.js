// The threshold page: one value, which lines, fields and keys all move, and what it would do.
import { Part } from "./asking.js";
import { costChart, distributionChart, follow } from "./charts.js";
import { ThresholdLine } from "./threshold-line.js";

const SETTLED_MS = 120;

const place = (id) => document.getElementById(id);
const stateOf = (element) => element.closest(".card").querySelector(".state");
const number = new Intl.NumberFormat("en");

const { promoteAt, demoteAt } = place("studio").dataset;
const today = { promote: Number(promoteAt), demote: Number(demoteAt) };
const [promote, demote] = [place("promote_at"), place("demote_at")];
const lines = [];
let keepsRatio = true;
let settling;
let askedFor;

// The heading names the value that the numbers below it are of, not the one that is on its way.
const preview = new Part(stateOf(place("preview")), (html) => {
  place("asked").textContent = number.format(askedFor);
  place("preview").innerHTML = html;
});

function ask() {
  askedFor = Number(promote.value);
  const asked = new URLSearchParams({ promote_at: promote.value, demote_at: demote.value });
  preview.load(`${place("preview").dataset.url}?${asked}`);
}

// Everything that shows the value shows this one; the service is asked once it has settled.
function moveTo(value) {
  promote.value = value;
  if (keepsRatio) demote.value = Math.max(1, Math.min(value, Math.round((value * today.demote) / today.promote)));
  show();
}

function show() {
  const value = Number(promote.value);
  if (!promote.validity.valid || !demote.validity.valid) return;
  for (const line of lines) line.put(value);
  clearTimeout(settling);
  settling = setTimeout(ask, SETTLED_MS);
}

// A value in words: with the accounts that have so many followers, from the distribution.
function speller({ followers, accounts }) {
  return (value) => {
    const at = followers.findIndex((count) => count >= value);
    return `${number.format(value)} followers; about ${number.format(at < 0 ? 0 : accounts[at])} accounts have as many or more`;
  };
}

function draw({ distribution, curve, beside, recommended, keep, why }) {
  for (const each of ["costs-card", "lines"]) place(each).hidden = false;
  const fixed = [[today.promote, "soft", [6, 4]], [recommended, "best", [2, 3]]];
  for (const each of ["distribution", "costs"]) place(each).replaceChildren();
  const drawn = [distributionChart(place("distribution"), distribution, fixed), costChart(place("costs"), curve, fixed)];
  const labels = ["Threshold, over the accounts", "Threshold, over the costs"];
  lines.splice(0, lines.length, ...drawn.map((chart, at) => new ThresholdLine(chart, labels[at], curve.promote_at.at(-1), moveTo, speller(distribution))));
  follow(drawn, () => lines.forEach((line) => line.put(Number(promote.value))));
  place("advice").textContent = `${why} Uploads and reads cost ${beside} beside, whatever the threshold.`;
  place("take").hidden = keep;
  place("take").onclick = () => moveTo(recommended);
}

promote.addEventListener("input", () => {
  if (promote.validity.valid) moveTo(Number(promote.value));
});
demote.addEventListener("input", () => {
  keepsRatio = false;
  show();
});
new Part(stateOf(place("distribution")), (body) => draw(JSON.parse(body))).load(place("distribution").dataset.url);
ask();
