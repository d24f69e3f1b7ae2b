// A small chart of a few values over the last minutes.
"use strict";

/** `series`: a list of {name, kind}; `kind` names the style of its line. Returns the chart's `element`, and `show`. */
EditX.chart = (series, seconds) => {
  const { h } = EditX;
  const WIDTH = 300, HEIGHT = 64, GAP_S = 10;
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "editx-chart" };
  const svg = make("svg", box);
  const lines = series.map(({ kind }) => {
    const line = { path: make("path", { class: `editx-line editx-line-${kind}` }),
                   last: make("path", { class: `editx-line editx-line-${kind} editx-last` }) };
    svg.append(line.path, line.last);
    return line;
  });
  const top = h("span"), span = h("span", {}, EditX.t("models.since", { minutes: Math.round(seconds / 60) }));
  const scale = h("div", { class: "editx-scale", "aria-hidden": "true" }, span, top, h("span", {}, EditX.t("models.now")));

  /** Draw `points`, [{at, values}] with `at` in seconds, up to `now`; `alternative` says the same in words. */
  const show = (points, now, alternative, written) => {
    const most = Math.max(0, ...points.flatMap(({ values }) => values));
    const high = most || 1;
    const x = (at) => (WIDTH * Math.max(0, 1 - (now - at) / seconds)).toFixed(1);
    const y = (value) => (HEIGHT - 3 - (value / high) * (HEIGHT - 6)).toFixed(1);
    lines.forEach(({ path, last }, i) => {
      const draw = points.map(({ at, values }, n) =>
        `${n && at - points[n - 1].at < GAP_S ? "L" : "M"}${x(at)} ${y(values[i])}`);
      path.setAttribute("d", draw.join(""));
      const end = points.at(-1);
      last.setAttribute("d", end ? `M${x(end.at)} ${y(end.values[i])}h0.01` : "");
    });
    svg.dataset.points = points.length;
    svg.setAttribute("aria-label", alternative);
    top.textContent = most ? EditX.t("models.top", { value: written(most) }) : "";
  };
  return { element: h("div", {}, svg, scale), show };
};
