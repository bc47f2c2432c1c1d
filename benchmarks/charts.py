"""Charts in SVG: each criterion's rounds, with its two bounds."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.criteria import BY_NAME, Criterion
from feedsvc.formats import amount

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

_COLOURS = {"aim met": "#1a7f37", "met": "#0969da", "missed": "#cf222e"}
_ROW_INCHES = 0.34
# A figure of 0 has no logarithm. No figure is drawn as more than this many times better.
_AT_BEST = 10
# The bars of `draw_rates`: series of the family `fanout`, and a label that explains each series.
_OURS = "ours"
_RATES = {
    "limit": "the server's own load generator",
    _OURS: "feedsvc",
    "tutorial": "the tutorial's task",
    "tutorial, unix socket and hiredis": "… by unix socket, with hiredis",
    "stream-framework": "Stream-Framework",
    "stream-framework, two processes": "… split by hand over two processes",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the criteria of a result; below them its curves, or else all its series."""
    plt = _pyplot()
    rows = {name: values for name, values in result["rows"].items() if name in BY_NAME}
    curves = result.get("curves", [])
    heights = [len(rows) + 1, *([10] * len(curves) or [len(result["series"]) + 1])]
    size = (9, 1.2 + _ROW_INCHES * sum(heights))
    figure, (above, *below) = plt.subplots(
        len(heights), 1, figsize=size, height_ratios=heights, layout="constrained"
    )
    _judged(above, rows)
    above.set_title(result["title"], loc="left")
    for axes, each in zip(below, curves, strict=False):
        _curves(axes, each)
    if not curves:
        _measured(below[0], result["series"])
    _save(figure, path)


def draw_all(measured: list[dict[str, Any]], path: Path) -> None:
    """Draw every measured criterion in one chart."""
    rows = results.values(measured)
    rows = {name: rows[name] for name in BY_NAME if name in rows}
    figure, axes = _pyplot().subplots(
        figsize=(9, 1.2 + _ROW_INCHES * (len(rows) + 1)), layout="constrained"
    )
    _judged(axes, rows)
    _save(figure, path)


def draw_rates(fanout: dict[str, Any], path: Path) -> None:
    """Draw the deliveries per second of a `fanout` result: medians, lowest and highest round."""
    figure, axes = _pyplot().subplots(
        figsize=(9, 0.8 + _ROW_INCHES * len(_RATES)), layout="constrained"
    )
    rates = {name: fanout["series"][f"{name}, deliveries/s"] for name in _RATES}
    middles = [median(each) for each in rates.values()]
    around = [
        [abs(end(each) - middle) for middle, each in zip(middles, rates.values(), strict=True)]
        for end in (min, max)
    ]
    colours = [_COLOURS["met"] if name == _OURS else "#afb8c1" for name in rates]
    bars = axes.barh(
        list(_RATES.values()),
        middles,
        color=colours,
        xerr=around,
        error_kw={"ecolor": "#57606a", "elinewidth": 1},
    )
    axes.bar_label(bars, [f"{middle:,.0f}" for middle in middles], padding=6)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_xlabel("deliveries a second to full feeds; lines: lowest and highest round")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _judged(axes: Axes, rows: dict[str, list[float]]) -> None:
    """Draw each figure relative to its "must": medians as dots, rounds as lines, aims as ticks.

    To the right of the line a figure is better than it must be.
    """
    for height, (name, values) in enumerate(rows.items()):
        criterion = BY_NAME[name]
        better = [_better(criterion, value) for value in values]
        colour = _COLOURS[criterion.verdict(values)]
        axes.plot([min(better), max(better)], [height, height], color=colour, linewidth=2)
        axes.plot(median(better), height, "o", color=colour)
        axes.plot(_better(criterion, criterion.aim), height, "|", color="#57606a", markersize=12)
    axes.axvline(1, color="#57606a", linewidth=1)
    _logarithmic(axes)
    axes.set_yticks(
        range(len(rows)), [_label(BY_NAME[name], values) for name, values in rows.items()]
    )
    axes.invert_yaxis()
    axes.set_xlabel("times as good as it must be; line: must, ticks: aims")


def _measured(axes: Axes, series: dict[str, list[float]]) -> None:
    for height, values in enumerate(series.values()):
        axes.plot([min(values), max(values)], [height, height], color="#57606a", linewidth=2)
        axes.plot(median(values), height, "o", color="#57606a")
    names = [f"{name}: {amount(median(values))}" for name, values in series.items()]
    axes.set_yticks(range(len(series)), names)
    _logarithmic(axes)
    axes.invert_yaxis()
    axes.set_xlabel("as measured: medians; lines: lowest and highest round")


def _curves(axes: Axes, curves: dict[str, Any]) -> None:
    for name, rounds in curves["lines"].items():
        dashes = "o--" if name.endswith("predicted") else "o-"
        axes.plot(
            curves["x"], [median(values) for values in rounds], dashes, label=name, markersize=4
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(curves["x label"])
    axes.set_ylabel(curves["y label"])
    axes.legend(loc="upper right", bbox_to_anchor=(-0.15, 1), frameon=False)


def _logarithmic(axes: Axes) -> None:
    """Set a logarithmic axis with plain numbers, and a margin above and below."""
    axes.set_xscale("log")
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format("{x:,g}")
    axes.tick_params(axis="x", which="both", labelrotation=45, labelsize=7)
    axes.margins(y=0.3 / max(1, len(axes.lines) // 3))
    axes.grid(visible=True, axis="x", color="#eaeef2")


def _better(criterion: Criterion, value: float) -> float:
    ratio = max(value, criterion.must / _AT_BEST) / criterion.must
    return ratio if criterion.more else 1 / ratio


def _label(criterion: Criterion, values: list[float]) -> str:
    value = f"{amount(median(values))} {criterion.unit}".rstrip()
    return f"{criterion.name}  {criterion.meaning}: {value}"


def _pyplot() -> Any:
    import matplotlib as mpl  # noqa: PLC0415 -- takes a second to load

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "feedsvc", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot  # noqa: PLC0415, ICN001 -- after the choice of the backend

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    _pyplot().close(figure)
