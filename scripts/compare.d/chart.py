"""The rows of scripts/compare as a picture: what following costs with FILES files, and who can follow MANY.

Call: chart.py ROWS OUTPUT.svg     (needs matplotlib; the same rows give the same bytes)
"""

import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot
from table import descriptor_limit, load, summary

FILES, MANY = 9_000, 100_000
NAMES = {"manytail": "manytail", "tail": "tail -F", "rsyslog": "rsyslog", "syslog-ng": "syslog-ng", "python": "Python + watchdog"}
# Okabe and Ito's vermilion against grey: told apart by all eyes, and in black and white.
OURS, OTHERS, INK, FAINT = "#d55e00", "#9aa5b1", "#1f2933", "#616e7c"
# Title, unit, key, how a number is shown, log scale.
PANELS = [
    ("Latency, 99 %", "ms, log scale", lambda row: row["p99_us"] / 1000, lambda value: f"{value:,.1f}" if value < 10 else f"{value:,.0f}", True),
    ("CPU per line", "\u00b5s", lambda row: row["cpu_us_per_line"], lambda value: f"{value:.0f}", False),
    ("Memory", "MiB, log scale", lambda row: row["rss_kib"] / 1024, lambda value: f"{value:,.0f}", True),
    ("Descriptors", "open, log scale", lambda row: row["descriptors"], lambda value: f"{value:,.0f}", True),
    ("Idle CPU", "% of a core", lambda row: row["idle_cpu_percent"], lambda value: f"{value:.1f}" if value else "0", False),
]


def settings():
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "manytail",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9,
            "text.color": INK,
            "axes.edgecolor": "#cbd2d9",
            "axes.labelcolor": FAINT,
            "xtick.color": FAINT,
            "ytick.color": INK,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
        }
    )


def bars(axes, panel, found):
    title, unit, key, shown, is_log = panel
    rows = [found[name] for name in found]
    values = [key(row) if row and row["lines"] else None for row in rows]
    most = max([value for value in values if value] or [1])
    if is_log:
        least = min([value for value in values if value] or [1])
        axes.set_xscale("log")
        axes.set_xlim(least / 3, least / 3 * (3 * most / least) ** 1.7)  # room for the numbers beside the bars
    else:
        axes.set_xlim(0, most * 1.7)
    for place, (name, value) in enumerate(zip(found, values)):
        colour = OURS if name == "manytail" else OTHERS
        weight = "bold" if name == "manytail" else "normal"
        if value is None:
            axes.text(0.03, place, "cannot", va="center", color=FAINT, transform=axes.get_yaxis_transform())
            continue
        axes.barh(place, value, height=0.62, color=colour)
        at = max(value, axes.get_xlim()[0])
        axes.annotate(shown(value), (at, place), xytext=(4, 0), textcoords="offset points", va="center", weight=weight)
    axes.set_title(title, fontsize=10, weight="bold", loc="left", pad=16)
    axes.text(0, 1.02, unit, transform=axes.transAxes, color=FAINT, fontsize=8)
    axes.set_xticks([])
    axes.minorticks_off()
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def abilities(axes, found, many):
    """The column that says what came of the lines with MANY files."""
    axes.set_title(f"With {MANY:,} files", fontsize=10, weight="bold", loc="left", pad=16)
    axes.text(0, 1.02, "lines delivered", transform=axes.transAxes, color=FAINT, fontsize=8)
    for place, name in enumerate(found):
        row = many.get(name)
        whole = row and row["share"] == 1
        text = "not measured" if name not in many else "cannot" if not row else "all" if whole else f"{min(99.99, 100 * row['share']):.4g} %"
        if row:
            text += f", 99 % in {row['p99_us'] / 1000:,.0f} ms"
        axes.text(0, place, text, va="center", weight="bold" if name == "manytail" else "normal", color=INK if whole else FAINT)
    axes.set_xlim(0, 1)
    axes.axis("off")


def draw(rows_path, chart_path):
    machine, groups = load(rows_path)
    found = {name: summary(groups[FILES, name]) for name in NAMES if (FILES, name) in groups}
    if not found:
        print(f"No chart: nothing was measured with {FILES:,} files.", file=sys.stderr)
        return
    many = {name: summary(groups[MANY, name]) for name in NAMES if (MANY, name) in groups}
    settings()
    figure, columns = pyplot.subplots(1, len(PANELS) + 1, sharey=True, figsize=(11, 2.9), gridspec_kw={"width_ratios": [1] * len(PANELS) + [1.35]})
    figure.subplots_adjust(left=0.132, right=0.99, top=0.69, bottom=0.09, wspace=0.12)
    for axes, panel in zip(columns, PANELS):
        bars(axes, panel, found)
    abilities(columns[-1], found, many)
    lossy = {name for name, row in found.items() if row and row["share"] < 1}
    columns[0].set_yticks(range(len(found)), [NAMES[name] + " *" * (name in lossy) for name in found])
    columns[0].set_ylim(len(found) - 0.5, -0.5)
    for label in columns[0].get_yticklabels():
        if label.get_text().startswith("manytail"):
            label.set_fontweight("bold")
            label.set_color(OURS)
    title = f"Following {FILES:,} logs, {machine['rate']:,} lines/s"
    if machine["create_every"]:
        title += f", {machine['rate'] / machine['create_every']:,.0f} new logs/s"
    figure.text(0.008, 0.925, title, fontsize=12, weight="bold")
    figure.text(0.992, 0.925, "less is better", fontsize=9, color=FAINT, ha="right")
    place = f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel'].split('-')[0]}, {machine['file_system']}"
    rest = f"{place}, at most {descriptor_limit(machine)} descriptors; scripts/compare"
    if lossy:
        rest = f"* did not deliver all lines.  {rest}"
    figure.text(0.008, 0.02, rest, fontsize=7.5, color=FAINT)
    figure.savefig(chart_path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2])
