// Draws the figures in the theme's colours: a figure names CSS variables, which are looked up when it is drawn.
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const themed = (value) => {
    if (typeof value === "string") return value.replace(/var\((--[\w-]+)\)/g, (_, name) => colour(name));
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, themed(one)]));
    return value;
  };
  const draw = () => Promise.all(figures.map(({ id, data, layout }) => {
    const drawn = themed(structuredClone({ data, layout }));
    return Plotly.react(id, drawn.data, drawn.layout, { displayModeBar: false, responsive: true });
  })).then(() => { document.documentElement.dataset.drawn = "true"; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  draw();
})();
