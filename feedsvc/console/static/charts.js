// The two charts over the threshold: accounts by followers, and cost. uPlot draws them.
// Colours come from the style sheet.
/* global uPlot */

const HEIGHT = 260;

const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

// Label powers of ten only: a phone has no room for more.
const isDecade = (value) => value !== null && Number.isInteger(Math.log10(value));
const decades = (_, values) => values.map((value) => (isDecade(value) ? short.format(value) : ""));

function axis(label, more) {
  return {
    label,
    labelSize: 20,
    font: "12px system-ui",
    labelFont: "12px system-ui",
    stroke: () => colour("soft"),
    grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { stroke: () => colour("grid"), width: 1 },
    ...more,
  };
}

// Draw vertical lines. Each is [value of x, colour's name, dashes].
function verticals(chart, lines) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.lineWidth = 2 * devicePixelRatio;
  for (const [value, name, dashes] of lines) {
    const x = chart.valToPos(value, "x", true);
    ctx.strokeStyle = colour(name);
    ctx.setLineDash(dashes.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// Shade the chart from its left edge to a value of x.
function shade(chart, upto) {
  const { ctx, bbox } = chart;
  const right = Math.min(chart.valToPos(upto, "x", true), bbox.left + bbox.width);
  ctx.save();
  ctx.fillStyle = colour("shade");
  ctx.fillRect(bbox.left, bbox.top, Math.max(0, right - bbox.left), bbox.height);
  ctx.restore();
}

// Return a chart with a logarithmic x in `place`.
// `columns`: x, then one column for each series. `series`: [label, colour's name, dashes].
// `lines`: as in `verticals`. `shaded`: the value of x below which the chart is shaded.
function chart(place, columns, series, yAxis, yScale, lines, shaded = 1) {
  const [xs] = columns;
  const options = {
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, distr: 3, range: [1, xs.at(-1)] }, y: yScale },
    axes: [axis("followers", { values: decades, size: 40 }), yAxis],
    series: [
      {},
      ...series.map(([label, name, dash]) => ({
        label, stroke: () => colour(name), width: 2, dash, points: { show: false },
      })),
    ],
    hooks: {
      drawClear: [(drawn) => shade(drawn, shaded)],
      draw: [(drawn) => verticals(drawn, lines)],
    },
  };
  return new uPlot(options, columns, place);
}

export function distributionChart(place, { followers, accounts }, lines) {
  const shown = accounts.map((count) => count || null);
  const top = 10 ** Math.ceil(Math.log10(accounts[0] || 1) || 1);
  const yAxis = axis("accounts", { values: decades, size: 50 });
  const yScale = { distr: 3, range: [1, top] };
  return chart(place, [followers, shown], [["accounts", "total"]], yAxis, yScale, lines);
}

// `fitsFrom`: below this threshold the lists exceed the near cache.
export function costChart(place, { promote_at, push, pull, total }, lines, fitsFrom) {
  const series = [["push", "push", [8, 4]], ["pull", "pull", [2, 3]], ["total", "total"]];
  const labels = (_, values) => values.map((value) => short.format(value));
  const yAxis = axis("seconds a day", { values: labels, size: 55 });
  const yScale = { range: (_, __, most) => [0, most * 1.08 || 1] };
  return chart(place, [promote_at, push, pull, total], series, yAxis, yScale, lines, fitsFrom);
}

// Keep the charts as wide as their places, and in the colours of the light or dark scheme.
// Calls `redrawn` after each change of width.
export function follow(charts, redrawn) {
  const observer = new ResizeObserver(() => {
    for (const each of charts) {
      each.setSize({ width: each.root.parentElement.clientWidth, height: HEIGHT });
    }
    redrawn();
  });
  for (const each of charts) observer.observe(each.root.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const each of charts) each.redraw();
  });
}
