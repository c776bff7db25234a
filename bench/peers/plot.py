"""Draws throughput by peer as an SVG: `plot.py FILE`, in an environment of its own; standard input has the panels."""

from __future__ import annotations

import json
import sys

from matplotlib import pyplot as plt  # type: ignore[import-not-found]

# Text stays text in the reader's own font, and its grey is legible on white and on dark pages.
plt.rcParams |= {
    "svg.fonttype": "none", "svg.hashsalt": "bench", "font.family": "sans-serif", "font.size": 11,
    "text.color": "#768390", "xtick.color": "#768390", "ytick.color": "#768390",
}  # fmt: skip

OURS, THEIRS = "#2f81f7", "#8b949e"


def main() -> None:
    """Draw a panel of bars for each case, the fastest first."""
    panels = json.load(sys.stdin)
    heights = [len(panel["bars"]) + 1 for panel in panels]
    figure, axes = plt.subplots(
        len(panels), figsize=(8, 0.34 * sum(heights) + 0.3), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        names = sorted(panel["bars"], key=panel["bars"].__getitem__)
        values = [panel["bars"][name] for name in names]
        ours = max(names, key=lambda name: name.startswith("JAC"))
        bars = axis.barh(names, values, height=0.7, color=[OURS if name == ours else THEIRS for name in names])
        axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=4)
        axis.set_title(
            f"{panel['title']}: throughput in proportion to ours", loc="left", fontsize=11, fontweight="bold"
        )
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelbottom=False)
        axis.margins(x=0.08)
    figure.savefig(sys.argv[1], transparent=True, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
