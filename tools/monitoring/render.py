"""Draws the Grafana dashboard without Grafana: every query of helm/vitserve/dashboards/vitserve.json is asked of a real
Prometheus, and what it answers is drawn with matplotlib, panel by panel, where the dashboard has it.

So the queries are those of the dashboard and the figures real; the look is not Grafana's. Fails where a query is refused.

    python3 tools/monitoring/render.py http://127.0.0.1:9090 docs/images/dashboard.png --minutes 3
"""
import argparse
import json
import pathlib
import re
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter
from PIL import Image

DASHBOARD = pathlib.Path(__file__).parents[2] / "helm/vitserve/dashboards/vitserve.json"
STEP = 5
COLUMNS = 24


def ask(prometheus: str, path: str, **parameters) -> list:
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url) as response:
        return json.load(response)["data"]["result"]


def expand(expr: str, minutes: float) -> str:
    replaced = {"$__rate_interval": "20s", "$__range": f"{int(minutes * 60)}s", "$job": ".*", "$instance": ".*"}
    for name, value in replaced.items():
        expr = expr.replace(name, value)
    return expr


def legend(template: str, labels: dict) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return re.sub(r"{{\w+}}", "", template).strip()


def text(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "s":
        return f"{1000 * value:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:.4g}" + (" /s" if unit in ("reqps", "ops", "cps") else "")


def draw(axes, panel: dict, prometheus: str, end: float, minutes: float) -> int:
    """Draws one panel. Returns how many series its queries gave."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_title(panel["title"], fontsize=8, loc="left")
    series = []
    for target in panel["targets"]:
        query = expand(target["expr"], minutes)
        if panel["type"] == "timeseries":
            found = ask(prometheus, "query_range", query=query, start=end - 60 * minutes, end=end, step=STEP)
        else:
            found = ask(prometheus, "query", query=query, time=end)
        series += [(target["legendFormat"], each) for each in found]
    if panel["type"] == "timeseries":
        for name, each in series:
            points = [(float(at) - end, float(value)) for at, value in each["values"] if value != "NaN"]
            axes.plot(*zip(*points) if points else ([], []), lw=1, label=legend(name, each["metric"])[:40])
        axes.set_xlim(-60 * minutes, 0)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value, unit)))
        axes.grid(alpha=0.3)
        if 0 < len(series):
            axes.legend(fontsize=5, loc="upper left", framealpha=0.6, ncols=2)
        else:
            axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", fontsize=7, color="grey")
    else:
        axes.axis("off")
        if panel["type"] == "stat":
            shown = text(float(series[0][1]["value"][1]), unit) if series else "no data"
            axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=15, color="tab:green")
        else:
            rows = ["   ".join(each["metric"].values()) for _, each in series]
            axes.text(0.02, 0.8, "\n".join(rows) or "no data", fontsize=7, va="top", family="monospace")
    return len(series)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus")
    parser.add_argument("image")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rows", help="only these rows, by title, separated by commas")
    options = parser.parse_args()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    if options.rows:
        kept, wanted = [], False
        for panel in panels:
            if panel["type"] == "row":
                wanted = panel["title"] in options.rows.split(",")
            if wanted:
                kept.append(panel)
        panels = kept
    # The rows that are left move up.
    lines = sorted({y for p in panels for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])})
    place = {line: index for index, line in enumerate(lines)}
    figure = plt.figure(figsize=(15, 0.29 * len(lines)), dpi=80)
    end = time.time()
    empty = []
    for panel in panels:
        grid = panel["gridPos"]
        left, width = grid["x"] / COLUMNS, grid["w"] / COLUMNS
        top = 1 - place[grid["y"]] / len(lines)
        height = grid["h"] / len(lines)
        if panel["type"] == "row":
            figure.text(0.005, top - height * 0.75, panel["title"], fontsize=10, weight="bold")
            continue
        pad = 1.1 / len(lines)
        axes = figure.add_axes((left + 0.035, top - height + pad, width - 0.045, height - 2 * pad))
        if draw(axes, panel, options.prometheus, end, options.minutes) == 0:
            empty.append(panel["title"])
    figure.savefig(options.image)
    # Lines on white need few colours, and so few bytes.
    Image.open(options.image).convert("RGB").quantize(48).save(options.image, optimize=True)
    drawn = sum(p["type"] != "row" for p in panels)
    print(f"{drawn} panels drawn, {len(empty)} without data: {', '.join(empty)}")


main()
