// The threshold as a line over a chart. A pointer drags it, keys move it, a screen reader reads it.

const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
const JUMPS = { PageUp: 2, PageDown: 0.5 };

// Round to two significant digits: a value that people can aim at and name.
function round(value) {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.round(value / unit) * unit;
}

// Return the next value with two significant digits, up (1) or down (-1).
function next(value, direction) {
  const from = direction < 0 ? value - 1 || 1 : value;
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(from)) - 1);
  if (direction > 0) return Math.floor(value / unit) * unit + unit;
  return Math.ceil(value / unit) * unit - unit;
}

// `chart`: a uPlot. `most`: the largest threshold. `moved`: called with each new value.
// `describe`: returns the text of a value for screen readers.
export class ThresholdLine {
  #chart;
  #most;
  #moved;
  #describe;
  #value = 1;
  #element = document.createElement("div");

  constructor(chart, label, most, moved, describe) {
    [this.#chart, this.#most, this.#moved] = [chart, most, moved];
    this.#describe = describe;
    const attributes = {
      class: "line",
      role: "slider",
      tabindex: "0",
      "aria-label": label,
      "aria-valuemin": 1,
      "aria-valuemax": most,
    };
    for (const [name, value] of Object.entries(attributes)) this.#element.setAttribute(name, value);
    chart.over.append(this.#element);
    this.#element.addEventListener("keydown", (event) => this.#key(event));
    chart.over.addEventListener("pointerdown", (event) => this.#grab(event));
    chart.over.addEventListener("pointermove", (event) => {
      if (chart.over.hasPointerCapture(event.pointerId)) this.#drag(event);
    });
  }

  // Put the line at a value, without calling `moved`.
  put(value) {
    this.#value = Math.min(Math.max(value, 1), this.#most);
    this.#element.setAttribute("aria-valuenow", this.#value);
    this.#element.setAttribute("aria-valuetext", this.#describe(this.#value));
    this.#element.style.left = `${this.#chart.valToPos(this.#value, "x")}px`;
  }

  #grab(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.#chart.over.setPointerCapture(event.pointerId);
    this.#element.focus({ preventScroll: true });
    this.#drag(event);
  }

  #drag(event) {
    const { left, width } = this.#chart.over.getBoundingClientRect();
    const at = this.#chart.posToVal(Math.min(Math.max(event.clientX - left, 0), width), "x");
    const near = round(at);
    this.#move(this.#most - at < Math.abs(near - at) ? this.#most : near);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { key } = event;
    if (key in STEPS) this.#move(next(this.#value, STEPS[key]));
    else if (key in JUMPS) this.#move(round(this.#value * JUMPS[key]));
    else if (key === "Home") this.#move(1);
    else if (key === "End") this.#move(this.#most);
    else return;
    event.preventDefault();
  }

  #move(value) {
    const allowed = Math.min(Math.max(value, 1), this.#most);
    if (allowed !== this.#value) this.#moved(allowed);
  }
}
