// Draws the figures in the theme's colours, places the names on the persona map, and answers search, zoom and print.
(() => {
  "use strict";
  const { figures, cards, text } = JSON.parse(document.getElementById("report-data").textContent);
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const plots = [...document.querySelectorAll(".plot")];
  const coarse = matchMedia("(pointer: coarse)").matches;

  // Colours: a figure names CSS variables; they are looked up when it is drawn, and again when the theme changes.
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const themed = (value) => {
    if (typeof value === "string") return value.replace(/var\((--[\w-]+)\)/g, (_, name) => colour(name));
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, themed(one)]));
    return value;
  };

  // A figure may carry names: those of the persona map, which can be searched, or a plain list of them.
  const named = (plot) => figures[plot.id].map?.labels ?? figures[plot.id].names;
  const nameTrace = () => ({ type: "scatter", mode: "text", name: "names", x: [], y: [], text: [], hoverinfo: "skip", textfont: { size: 12, color: [] }, cliponaxis: false });
  const prepared = (plot) => {
    const { data, layout } = structuredClone(figures[plot.id]);
    const drawn = themed({ data, layout });
    if (plot === mapPlot) prepareMap(plot, drawn);
    else if (named(plot)) drawn.data.push(nameTrace());
    return drawn;
  };

  const draw = (plot) => {
    const drawn = prepared(plot);
    const config = { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false };
    return Plotly.react(plot, drawn.data, drawn.layout, config).then(() => named(plot) && nameMarks(plot));
  };
  const drawAll = () => Promise.all(plots.map(draw)).then(() => { root.dataset.drawn = "true"; });

  // Persona map ---------------------------------------------------------------------------------------------------
  const mapPlot = plots.find((plot) => figures[plot.id].map);
  let chosen = null;
  let kindsShown = new Set();
  let view = null; // axis ranges after a zoom, kept over a redraw

  const prepareMap = (plot, drawn) => {
    const mark = { type: "scatter", mode: "markers", name: "chosen", x: [], y: [], hoverinfo: "skip",
      marker: { symbol: "circle-open", size: 22, color: colour("--ink"), line: { width: 2, color: colour("--ink") } } };
    const roles = drawn.data.find((trace) => trace.name === "roles");
    const card = chosen && cards[chosen];
    if (card) { mark.x = [card.x]; mark.y = [card.y]; }
    if (kindsShown.size) roles.marker.opacity = roles.customdata.map(([role]) => (kindsShown.has(cards[role].stored) ? 1 : 0.13));
    drawn.data.push(mark, nameTrace());
    drawn.layout.dragmode = coarse ? (view ? "pan" : false) : "zoom";
    // A phone is too narrow for one scale on both components: there, room for names comes first.
    if (plot.clientWidth < 600) delete drawn.layout.yaxis.scaleanchor;
    if (view) { drawn.layout.xaxis.range = view.x; drawn.layout.yaxis.range = view.y; }
  };

  // Names are placed greedily in order of importance: each takes the first free of eight places around its mark, and
  // one without a free place stays unnamed until there is room (zoom) or until it is pointed at or searched for.
  const nameMarks = (plot) => {
    const { xaxis, yaxis } = plot._fullLayout;
    const pen = document.createElement("canvas").getContext("2d");
    const family = plot.layout.font.family;
    const px = (point) => ({ x: xaxis.d2p(point.x), y: yaxis.d2p(point.y) });
    const labels = named(plot);
    const picked = plot === mapPlot ? chosen : null;
    const marks = labels.filter((one) => one.style !== "axis").map((one) => ({ ...px(one), r: one.style === "default" ? 13 : 6 }));
    const taken = [];
    const free = (box) =>
      box.left >= 2 && box.right <= xaxis._length - 2 && box.top >= 2 && box.bottom <= yaxis._length - 2 &&
      !taken.some((other) => box.left < other.right + 3 && other.left < box.right + 3 && box.top < other.bottom + 1 && other.top < box.bottom + 1) &&
      !marks.some((mark) => mark.x + mark.r > box.left && mark.x - mark.r < box.right && mark.y + mark.r > box.top && mark.y - mark.r < box.bottom);
    const places = [[1, 0], [-1, 0], [0, -1], [0, 1], [0.75, -0.9], [-0.75, -0.9], [0.75, 0.9], [-0.75, 0.9]];
    const around = (spot, width, gap, style) => (style === "axis" ? [[0, -0.6], [0, 0.6], [1, -0.7], [1, 0.7], [-1, -0.7]] : places).map(([dx, dy]) => {
      // Above and below, a name near the frame slides inwards instead of being cut.
      const wanted = spot.x + dx * (width / 2 + gap), y = spot.y + dy * (8 + gap);
      const x = dy ? Math.min(Math.max(wanted, width / 2 + 3), xaxis._length - width / 2 - 3) : wanted;
      return { x, y, left: x - width / 2, right: x + width / 2, top: y - 8, bottom: y + 8 };
    });
    const said = { x: [], y: [], text: [], color: [] };
    const shown = (label) => plot !== mapPlot || !kindsShown.size || label.style !== "role" || kindsShown.has(cards[label.text]?.stored);
    const first = labels.filter((label) => picked && label.text === picked);
    for (const label of [...first, ...labels.filter((label) => !first.includes(label) && shown(label))]) {
      // The axis is named anywhere along its outer half, a role beside its own mark.
      const spots = label.along ? [0, 0.2, 0.4, 0.6, 0.8, 1].map((part) => px({ x: label.x + part * label.along[0], y: label.y + part * label.along[1] })) : [px(label)];
      const spot = spots[0];
      if (!label.along && (spot.x < 0 || spot.x > xaxis._length || spot.y < 0 || spot.y > yaxis._length)) continue;
      const strong = label.style === "default" || label.text === picked;
      pen.font = `${strong ? "bold " : ""}12px ${family}`;
      const width = pen.measureText(label.text).width;
      const boxes = spots.flatMap((one) => around(one, width, strong ? 14 : 8, label.style));
      // The default character and the chosen one are always named, over other marks if need be.
      const box = boxes.find(free) ?? (strong ? boxes.find((one) => one.top > 0 && one.bottom < yaxis._length && one.left > 0 && one.right < xaxis._length) : undefined);
      if (!box) continue;
      taken.push(box);
      said.x.push(xaxis.p2d(box.x));
      said.y.push(yaxis.p2d(box.y));
      said.text.push(strong ? `<b>${label.text}</b>` : label.style === "axis" ? `<i>${label.text}</i>` : label.text);
      said.color.push(colour(label.style === "default" ? "--teal-ink" : label.style === "axis" ? "--quiet" : "--ink"));
    }
    const index = plot.data.findIndex((trace) => trace.name === "names");
    return Plotly.restyle(plot, { x: [said.x], y: [said.y], text: [said.text], "textfont.color": [said.color] }, [index]);
  };

  const node = (tag, content, className) => {
    const made = document.createElement(tag);
    made.textContent = content;
    if (className) made.className = className;
    return made;
  };
  const choose = (role) => {
    const card = cards[role];
    chosen = card ? role : null;
    const box = at("card");
    if (card) {
      const title = node("h3", card.name);
      title.append(" ", node("span", `${card.kind}, ${card.place}`, "quiet"));
      box.replaceChildren(title, ...(card.question ? [node("p", card.question, "asked"), node("blockquote", card.reply)] : []));
      box.style.setProperty("--tint", card.tint);
      if (view) {
        const inside = (range, value) => value >= Math.min(...range) && value <= Math.max(...range);
        if (!inside(view.x, card.x) || !inside(view.y, card.y)) view = null;
      }
    } else {
      box.replaceChildren(node("p", text.nothing, "quiet"));
      box.style.removeProperty("--tint");
    }
    return draw(mapPlot);
  };

  if (mapPlot) {
    document.querySelector(".map-tools").hidden = false;
    at("card").hidden = false;
    const search = at("role-search");
    const names = Object.keys(cards);
    const find = (eager) => {
      const asked = search.value.trim().toLowerCase();
      const hit = names.find((name) => name === asked) ?? (eager && asked ? names.find((name) => name.startsWith(asked)) ?? names.find((name) => name.includes(asked)) : undefined);
      if (hit) choose(hit);
      else if (eager && asked) choose(null);
    };
    search.addEventListener("input", () => find(false));
    search.addEventListener("change", () => find(true));
    const zoom = (factor) => {
      const { xaxis, yaxis } = mapPlot._fullLayout;
      const card = chosen && cards[chosen];
      const around = (range, centre) => { const middle = centre ?? (range[0] + range[1]) / 2; return range.map((end) => middle + (end - (range[0] + range[1]) / 2) * factor); };
      view = factor ? { x: around(xaxis.range, factor < 1 ? card?.x : undefined), y: around(yaxis.range, factor < 1 ? card?.y : undefined) } : null;
      draw(mapPlot);
    };
    document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => zoom(Number(button.dataset.zoom))));
    document.querySelectorAll("[data-kind]").forEach((button) => button.addEventListener("click", () => {
      const kind = button.dataset.kind;
      kindsShown.has(kind) ? kindsShown.delete(kind) : kindsShown.add(kind);
      button.setAttribute("aria-pressed", String(kindsShown.has(kind)));
      draw(mapPlot);
    }));
  }
  const listen = () => {
    plots.filter((plot) => plot !== mapPlot && named(plot)).forEach((plot) => plot.on("plotly_relayout", () => nameMarks(plot)));
    if (!mapPlot) return;
    mapPlot.on("plotly_click", ({ points }) => {
      const role = points[0].customdata?.[0];
      if (role) choose(cards[role] ? role : "default");
    });
    mapPlot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change || "xaxis.range" in change) {
        const { xaxis, yaxis } = mapPlot._fullLayout;
        view = { x: [...xaxis.range], y: [...yaxis.range] };
      }
      nameMarks(mapPlot);
    });
    mapPlot.on("plotly_doubleclick", () => { view = null; draw(mapPlot); });
  };

  // Theme ---------------------------------------------------------------------------------------------------------
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const themeButton = at("theme");
  const nameTheme = () => { themeButton.textContent = dark() ? text.theme_light : text.theme_dark; };
  themeButton.hidden = false;
  nameTheme();
  themeButton.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("greenroom-theme", root.dataset.theme); } catch { /* not kept, then */ }
    nameTheme();
    drawAll();
  });
  system.addEventListener("change", () => { nameTheme(); drawAll(); });

  // Paper: light colours and the paper's width while it prints -----------------------------------------------------
  let before = null;
  const sized = () => plots.forEach((plot) => {
    const drawn = prepared(plot);
    Object.assign(drawn.layout, { autosize: false, width: plot.clientWidth, height: plot.clientHeight });
    Plotly.react(plot, drawn.data, drawn.layout, { displayModeBar: false, responsive: false });
    if (named(plot)) nameMarks(plot);
  });
  addEventListener("beforeprint", () => {
    before = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    root.classList.add("printing");
    sized();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    drawAll();
  });

  const copy = at("copy");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", () => navigator.clipboard.writeText(at("command").textContent).then(
      () => { copy.textContent = text.copied; setTimeout(() => { copy.textContent = text.copy_button; }, 1500); }, () => {}));
  }

  drawAll().then(listen);
})();
