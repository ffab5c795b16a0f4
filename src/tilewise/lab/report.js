"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const problem = document.getElementById("problem");
  const complain = (what) => {
    problem.hidden = false;
    problem.querySelector("span").textContent = what;
  };
  addEventListener("error", (event) => complain(event.message));
  addEventListener("unhandledrejection", (event) => complain(String(event.reason)));

  const themed = (chart) => {
    const colors = dark.matches
      ? { ink: "#e8eaed", muted: "#a4adb6", grid: "#363c42" }
      : { ink: "#1c2024", muted: "#69727b", grid: "#dfe3e7" };
    return JSON.parse(JSON.stringify(chart).replace(/"@(ink|muted|grid)"/g, (_, name) => `"${colors[name]}"`));
  };

  const draw = () => {
    for (const chart of charts) {
      const node = document.getElementById(chart.id);
      const { data, layout } = themed(chart);
      if (node.clientWidth < 520) {
        layout.margin = { ...layout.margin, l: 46, r: 6 };
        layout.font.size = 12;
        const names = data.filter((trace) => trace.name && trace.showlegend !== false).length;
        layout.height = Math.max(layout.height || 0, 400) + (layout.showlegend ? 24 * Math.max(0, names - 2) : 0);
        // Else the legend is given a part of the height and scrolls in it.
        layout.legend.maxheight = 0.9;
      }
      layout.height = layout.height || 440;
      Plotly.react(node, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    }
  };
  dark.addEventListener("change", draw);
  draw();
  document.documentElement.dataset.charts = charts.length;
})();
